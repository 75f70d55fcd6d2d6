// What must become of a case, from the op's documentation alone (custom_ops/README.md).

#include <cmath>
#include <cstdio>

#include "tests/elements.h"
#include "tests/fuzz_case.h"

namespace frn_test {
namespace {

using fake_ort::Dims;
using fake_ort::Input;

constexpr int64_t kMostElements = int64_t{1} << 59;  // of an X that a runtime could have

bool IsElement(ElementType type) {
  for (ElementType known : kElements) {
    if (type == known) return true;
  }
  return false;
}

// Whether a parameter's dimensions may be those of C channels; -1 is not known.
bool Fits(const Dims& param, int64_t channels, size_t rank) {
  if (param.size() != rank) return false;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t expected = i == 0 ? channels : 1;
    if (param[i] >= 0 && expected >= 0 && param[i] != expected) return false;
  }
  return true;
}

// Whether a residual's dimensions may be those of X.
bool FitsX(const Dims& residual, const Dims& x) {
  if (residual.size() != x.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (residual[i] >= 0 && x[i] >= 0 && residual[i] != x[i]) return false;
  }
  return true;
}

// X as it is known when a node is made: what the model says, and the channels of the first
// constant where it does not; -1 is not known.
Dims KnownX(const FuzzCase& test, size_t rank, size_t channel) {
  const auto& inputs = test.node.inputs;
  Dims x = inputs.empty() ? Dims() : inputs[0].known.dims;
  if (x.empty()) x.assign(rank, -1);
  for (size_t i = 1; i < InputsOf(test.residual) && i < inputs.size(); ++i) {
    if (channel >= x.size() || x[channel] >= 0) break;
    if (RoleOf(test.residual, i) < kGamma) continue;
    const Input& input = inputs[i];
    if (input.present && input.constant && !input.dims.empty()) x[channel] = input.dims[0];
  }
  return x;
}

std::string Text(const Dims& dims) {
  std::string text = "(";
  for (int64_t dim : dims) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + ")";
}

}  // namespace

Verdict Judge(const FuzzCase& test) {
  const auto& node = test.node;
  const Dims* axes = std::get_if<Dims>(&node.axes);
  const int64_t channel = axes == nullptr ? -1 : ChannelAxis(*axes);
  if (channel < 0) return Verdict::kRefusedWhenMade;
  if (const float* epsilon = std::get_if<float>(&node.epsilon)) {
    if (!std::isfinite(*epsilon) || *epsilon < 0) return Verdict::kRefusedWhenMade;
  } else if (!std::holds_alternative<fake_ort::NoAttribute>(node.epsilon)) {
    return Verdict::kRefusedWhenMade;
  }
  const size_t rank = axes->size() + 2;
  const auto fits = [&](Role role, const Dims& dims, const Dims& x) {
    if (role == kX) return dims.size() == rank;
    if (role == kResidual) return FitsX(dims, x);
    return x.size() != rank || Fits(dims, x[channel], rank - channel);
  };
  const Dims known_x = KnownX(test, rank, channel);
  for (size_t i = 0; i < InputsOf(test.residual); ++i) {
    const Role role = RoleOf(test.residual, i);
    const Input* input = i < node.inputs.size() ? &node.inputs[i] : nullptr;
    if (input == nullptr || !input->present) {
      if (i < RequiredOf(test.residual)) return Verdict::kRefusedWhenMade;
      continue;
    }
    const ElementType type = input->known.type, x = node.inputs[0].known.type;
    if (!input->is_tensor) return Verdict::kRefusedWhenMade;
    const bool as_x = role != kEpsilon && type == x;
    const bool as_float = role != kResidual && type == kFloat;
    if (role == kX ? !IsElement(type) : !as_x && !as_float) return Verdict::kRefusedWhenMade;
    // Of a constant all is known, of others what the model says; of X its rank, by the axes.
    const Dims& known = input->constant ? input->dims : input->known.dims;
    if (known.empty() && !input->constant) continue;
    if (!fits(role, known, known_x)) return Verdict::kRefusedWhenMade;
  }
  const Dims& x = node.inputs[0].dims;
  for (size_t i = 0; i < InputsOf(test.residual) && i < node.inputs.size(); ++i) {
    const Input& input = node.inputs[i];
    if (input.present && !fits(RoleOf(test.residual, i), input.dims, x))
      return Verdict::kRefusedWhenRun;
  }
  const int64_t elements = CountOf(x);
  if (elements < 0 || elements > kMostElements) return Verdict::kRefusedWhenRun;
  return Verdict::kRuns;
}

std::string Describe(const FuzzCase& test) {
  const auto& node = test.node;
  std::string text = test.target + (test.residual ? ", residual" : "");
  if (const Dims* axes = std::get_if<Dims>(&node.axes)) text += ", axes " + Text(*axes);
  if (const float* epsilon = std::get_if<float>(&node.epsilon)) {
    char number[32];
    std::snprintf(number, sizeof(number), ", epsilon %g", *epsilon);
    text += number;
  }
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Input& input = node.inputs[i];
    text += "\n    input " + std::to_string(i) + ": type " + std::to_string(input.known.type) +
            ", known " + Text(input.known.dims) + ", comes " + Text(input.dims) + ", offset " +
            std::to_string(test.offsets[i]) + (input.present ? "" : ", absent") +
            (input.constant ? ", constant" : "") + (input.is_tensor ? "" : ", no tensor");
  }
  text += "\n    Y: offset " + std::to_string(test.offsets.back()) +
          (test.at_end ? ", guarded behind" : ", guarded before");
  if (test.fault != Fault::kNone) {
    text += std::string(test.fault == Fault::kCall ? ", call " : ", allocation ") +
            std::to_string(test.fault_at) + " fails";
  }
  return text;
}

}  // namespace frn_test
