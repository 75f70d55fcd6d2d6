// One FRN call under the emulator, as cuda/launch.h is one on a device.

#ifndef FRN_ONNX_TESTS_SIMT_EMULATE_H_
#define FRN_ONNX_TESTS_SIMT_EMULATE_H_

#include "cuda/planner.h"
#include "tests/simt/simt.h"

namespace frn::cuda {

struct Schedule {
  simt::Order order = simt::Order::kForward;
  uint32_t seed = 1;
};

// Runs the plan's kernel. Throws simt::Error.
void Emulate(const KernelParams& params, ElementType type, const Plan& plan,
             const Schedule& schedule = {});

}  // namespace frn::cuda

#endif  // FRN_ONNX_TESTS_SIMT_EMULATE_H_
