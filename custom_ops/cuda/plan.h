// A plan: which kernel runs, in how many blocks and threads, and how the work is cut. The
// functions make the plan that follows from a few free choices; planner.h makes the choices.

#ifndef FRN_ONNX_CUDA_PLAN_H_
#define FRN_ONNX_CUDA_PLAN_H_

#include <cstdint>

#include "cuda/kernel_params.h"

namespace frn::cuda {

enum class Kernel { kNchwTile, kNchwTileScalar, kNchwPlane, kNhwc, kNhwcScalar, kStrided };
inline constexpr Kernel kKernels[] = {Kernel::kNchwTile,   Kernel::kNchwTileScalar,
                                      Kernel::kNchwPlane,  Kernel::kNhwc,
                                      Kernel::kNhwcScalar, Kernel::kStrided};

const char* KernelName(Kernel kernel);

// One tensor to normalise. It is not empty.
struct Problem {
  FrnShape shape;
  ElementType type;
  bool aligned;           // x, y and residual all begin on a 16-byte line
  bool residual = false;  // whether there is one
};

struct Plan {
  Kernel kernel;
  int64_t blocks = 0;
  int threads = 0;         // per block, a multiple of 32
  int64_t smem_bytes = 0;  // dynamic shared memory per block
  Cut cut = {};
};

// With one channel every layout is the same: this makes it NCHW, which the plans below and the
// kernels take for granted.
FrnShape Canonical(FrnShape shape);

// Elements of a 16-byte pack.
int PackElements(ElementType type);

// Planes that a block's registers hold, at most.
int64_t NchwTileMostPlanes(const Problem& problem);
// `planes` per block.
Plan NchwTilePlan(const Problem& problem, int planes);

// Packs of one plane that each block of a cluster owns, at most.
int64_t NchwPlaneShare(const Problem& problem, int cluster);
// `rounds`: packs per thread that stay in shared memory.
Plan NchwPlanePlan(const Problem& problem, int cluster, int threads, int64_t rounds);

// Whether the tensors allow 16-byte loads along the channels.
bool NhwcIsWide(const Problem& problem);
// `columns`: packs, or elements where the tensors are not wide, that a strip is wide; a power of
// two up to 32. `stage`: steps that stay in shared memory. A strip has no more channels than the
// block has threads.
Plan NhwcPlan(const Problem& problem, int columns, int cluster, int threads, int64_t stage);

Plan StridedPlan(const Problem& problem, int threads);

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_PLAN_H_
