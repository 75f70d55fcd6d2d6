// One case of the kernel tests: a problem, a plan, the tensors, and the comparison with float64.

#ifndef FRN_ONNX_TESTS_SIMT_FRN_CASE_H_
#define FRN_ONNX_TESTS_SIMT_FRN_CASE_H_

#include <cstdint>
#include <string>

#include "cuda/planner.h"
#include "tests/simt/emulate.h"

namespace frn::cuda {

struct FrnCase {
  FrnShape shape;
  ElementType type = ElementType::kFloat;
  int x_offset = 0;  // elements that x begins behind a 16-byte line, 0 to 7
  int y_offset = 0;
  bool in_place = false;  // y is x, and y_offset is not used
  bool has_residual = false;
  int residual_offset = 0;
  bool over_residual = false;  // y is residual, and y_offset is not used
  bool has_tau = true;
  bool gamma_is_float = false;
  bool beta_is_float = false;
  bool tau_is_float = false;
  bool epsilon_per_channel = false;
  // One element replaced by NaN or infinity: its plane, and no other, must show it.
  float special = 0.0f;  // 0: none
  bool nan_tau = false;  // tau of channel 0 is NaN
  Plan plan{};
  Schedule schedule;
  uint64_t seed = 1;  // of all values

  Problem problem() const {
    const bool aligned = x_offset == 0 && (in_place || over_residual || y_offset == 0) &&
                         (!has_residual || residual_offset == 0);
    return {shape, type, aligned, has_residual};
  }
  std::string ToString() const;
};

// Runs the case under the emulator; "" or what is wrong.
std::string RunCase(const FrnCase& test);

}  // namespace frn::cuda

#endif  // FRN_ONNX_TESTS_SIMT_FRN_CASE_H_
