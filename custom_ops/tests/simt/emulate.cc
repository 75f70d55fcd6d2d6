#include "tests/simt/emulate.h"

#include "cuda/kernels.h"

namespace frn::cuda {

void Emulate(const KernelParams& params, ElementType type, const Plan& plan,
             const Schedule& schedule) {
  const KernelFunction kernel = KernelOf(plan.kernel, type, params.residual != nullptr);
  simt::Grid grid;
  grid.blocks = plan.blocks;
  grid.threads = plan.threads;
  grid.cluster = plan.cut.cluster;
  grid.smem_bytes = static_cast<int>(plan.smem_bytes);
  grid.order = schedule.order;
  grid.seed = schedule.seed;
  simt::Launch(grid, [&] { kernel(params, plan.cut); });
}

}  // namespace frn::cuda
