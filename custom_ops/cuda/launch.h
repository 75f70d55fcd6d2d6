// FRN on a GPU: plans and launches, for the device that is current. A launch waits for nothing,
// allocates nothing and leaves the default stream alone, so it may be captured in a CUDA graph.
//
// The stream is a cudaStream_t; CUDA's headers are needed in launch.cc alone. tests/simt runs the
// same interface on a CPU.

#ifndef FRN_ONNX_CUDA_LAUNCH_H_
#define FRN_ONNX_CUDA_LAUNCH_H_

#include <stdexcept>

#include "cuda/kernel_params.h"
#include "cuda/planner.h"

namespace frn::cuda {

// A CUDA call failed: the message holds CUDA's own words and what was being done (of a launch:
// kernel, shape and type), and tells it from the failure of what was enqueued before.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Whether the driver knows the CUDA that this was built with. Where there is no driver, nobody asks
// for CUDA: true.
bool DriverIsNewEnough();

// Reads what the planner asks of the device, and loads the kernels: once per device, by whichever
// call comes first. Worth a call of its own where the first launch is timed or captured. Throws
// CudaError.
void WarmUp();
void WarmUpOn(int device);

// Enqueues y = FRN(x). Throws FrnError for a tensor too large or not aligned to its elements, and
// CudaError. An empty tensor launches nothing.
void Launch(const KernelParams& params, ElementType type, void* stream);

// The same on a device that need not be the current one, and is not made so.
void LaunchOn(int device, const KernelParams& params, ElementType type, void* stream);

// Enqueues one given plan; for benchmarks and tests.
void LaunchPlan(const KernelParams& params, ElementType type, const Plan& plan, void* stream);

// The current device, as the planner sees it. Throws CudaError.
DeviceProfile CurrentDevice();

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_LAUNCH_H_
