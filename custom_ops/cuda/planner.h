// Chooses the plan: a pure function of the tensor and the device.

#ifndef FRN_ONNX_CUDA_PLANNER_H_
#define FRN_ONNX_CUDA_PLANNER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/plan.h"

namespace frn::cuda {

// What the planner asks of a device; the launcher reads it once per device.
struct DeviceProfile {
  int sms;
  int threads_per_sm;
  int blocks_per_sm;
  int64_t smem_per_sm;     // bytes
  int64_t smem_per_block;  // bytes of dynamic shared memory one block may ask for
  int64_t l2_bytes;
  int64_t gb_per_second;  // that device memory moves at most: its clock times the bus's width
  int largest_cluster;    // blocks; 1 before sm_90, and where the kernels in use are older code
};

struct Candidate {
  Plan plan;
  double passes;    // of device memory, two being the least there are, or three with a residual
  double estimate;  // microseconds, from the launch to the end
};

// All plans there are to choose from. Empty where the tensor has more than 2^30 channels, or
// elements per plane, or needs more than 2^31 - 1 blocks.
std::vector<Candidate> Candidates(const Problem& problem, const DeviceProfile& device);

// The candidate with the least estimate, if there is one.
std::optional<Plan> MakePlan(const Problem& problem, const DeviceProfile& device);

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_PLANNER_H_
