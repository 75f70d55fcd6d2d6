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

// The channels as they are known when a node is made: by the shape of X, or else by the first
// constant; -1 is not known.
int64_t KnownChannels(const fake_ort::Node& node, size_t channel) {
  const Dims& x = node.inputs[0].known.dims;
  if (channel < x.size() && x[channel] >= 0) return x[channel];
  for (size_t i = 1; i < kInputs && i < node.inputs.size(); ++i) {
    const Input& input = node.inputs[i];
    if (input.present && input.constant && !input.dims.empty()) return input.dims[0];
  }
  return -1;
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
  if (channel < 0 || std::holds_alternative<int64_t>(node.epsilon))
    return Verdict::kRefusedWhenMade;
  if (const float* epsilon = std::get_if<float>(&node.epsilon)) {
    if (!std::isfinite(*epsilon) || *epsilon < 0) return Verdict::kRefusedWhenMade;
  }
  const size_t rank = axes->size() + 2;
  const int64_t channels = node.inputs.empty() ? -1 : KnownChannels(node, channel);
  for (size_t i = 0; i < kInputs; ++i) {
    const Input* input = i < node.inputs.size() ? &node.inputs[i] : nullptr;
    if (input == nullptr || !input->present) {
      if (i < 3) return Verdict::kRefusedWhenMade;
      continue;
    }
    const ElementType type = input->known.type, x = node.inputs[0].known.type;
    if (!input->is_tensor) return Verdict::kRefusedWhenMade;
    if (i == 0 ? !IsElement(type) : type != kFloat && (i == 4 || type != x)) {
      return Verdict::kRefusedWhenMade;
    }
    // Of a constant all is known, of others what the model says; of X its rank, by the axes.
    const Dims& known = input->constant ? input->dims : input->known.dims;
    if (known.empty() && !input->constant) continue;
    if (i == 0 ? known.size() != rank : !Fits(known, channels, rank - channel)) {
      return Verdict::kRefusedWhenMade;
    }
  }
  const Dims& x = node.inputs[0].dims;
  for (size_t i = 0; i < kInputs && i < node.inputs.size(); ++i) {
    if (!node.inputs[i].present) continue;
    const Dims& dims = node.inputs[i].dims;
    if (i == 0 ? dims.size() != rank : !Fits(dims, x[channel], rank - channel)) {
      return Verdict::kRefusedWhenRun;
    }
  }
  const int64_t elements = CountOf(x);
  if (elements < 0 || elements > kMostElements) return Verdict::kRefusedWhenRun;
  return Verdict::kRuns;
}

std::string Describe(const FuzzCase& test) {
  const auto& node = test.node;
  std::string text = test.target;
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
