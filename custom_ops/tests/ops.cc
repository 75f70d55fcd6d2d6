#include "tests/ops.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cpu/cpu_target.h"

namespace frn_test {

using fake_ort::Dims;

Ops::Ops() : options_(fake_ort::MakeOptions()) {
  const fake_ort::Outcome outcome =
      fake_ort::Take(RegisterCustomOps(options_, fake_ort::MakeRuntime("1.32.0")));
  if (outcome.code != ORT_OK) {
    std::fprintf(stderr, "RegisterCustomOps: %s\n", outcome.message.c_str());
    std::exit(1);
  }
  for (const OrtCustomOp* op : fake_ort::OpsOf(options_)) {
    ops_[{op->GetName(op), op->GetInputType(op, 0)}] = op;
  }
}

Ops::~Ops() { fake_ort::FreeOptions(options_); }

const OrtCustomOp* Ops::Find(ONNXTensorElementDataType type, bool residual) const {
  const char* name =
      residual ? "ResidualFilterResponseNormalization" : "FilterResponseNormalization";
  const auto found = ops_.find({name, type});
  return found == ops_.end() ? nullptr : found->second;
}

std::vector<std::string> UsableTargets() {
  std::vector<std::string> names;
  for (const frn::CpuTarget& target : frn::CpuTargets()) {
    if (target.kernels != nullptr && target.supported) names.push_back(target.name);
  }
  return names;
}

void ForceTarget(const std::string& target) {
#ifdef _WIN32
  _putenv_s("FRN_ONNX_CPU_TARGET", target.c_str());
#else
  setenv("FRN_ONNX_CPU_TARGET", target.c_str(), 1);
#endif
}

int64_t ChannelAxis(const Dims& axes) {
  const int64_t rank = static_cast<int64_t>(axes.size()) + 2;
  if (rank < 3 || rank > 5) return -1;
  int64_t left = rank * (rank - 1) / 2;  // of the sum of all axes
  unsigned seen = 0;
  for (int64_t axis : axes) {
    if (axis < -rank || axis >= rank) return -1;
    axis = axis < 0 ? axis + rank : axis;
    if (axis == 0 || (seen >> axis & 1) != 0) return -1;
    seen |= 1u << axis;
    left -= axis;
  }
  return left;
}

int64_t CountOf(const Dims& dims) {
  int64_t count = 1;
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return 0;
  for (int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(count, dim, &count)) return -1;
  }
  return count;
}

}  // namespace frn_test
