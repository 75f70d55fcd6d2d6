// cuda/launch.h on a CPU: the same calls, run by the emulator on the addresses given.

#include "cuda/launch.h"

#include <mutex>

#include "cuda/call.h"
#include "tests/simt/emulate.h"

namespace frn::cuda {

void Launch(const KernelParams& params, ElementType type, void* stream) {
  if (params.shape.elements() == 0) return;
  const std::optional<Plan> plan = MakePlan(ProblemOf(params, type), CurrentDevice());
  if (!plan.has_value()) throw TooLarge(params.shape, type);
  LaunchPlan(params, type, *plan, stream);
}

void LaunchOn(int, const KernelParams& params, ElementType type, void* stream) {
  Launch(params, type, stream);
}

void LaunchPlan(const KernelParams& params, ElementType type, const Plan& plan, void*) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  Emulate(params, type, plan);
}

// An H200.
DeviceProfile CurrentDevice() { return {132, 2048, 32, 233472, 232448, 62914560, true}; }

}  // namespace frn::cuda
