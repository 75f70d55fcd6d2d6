// Whoever the threads belong to: ONNX Runtime's pool, or a team of our own.

#ifndef FRN_ONNX_CPU_EXECUTOR_H_
#define FRN_ONNX_CPU_EXECUTOR_H_

#include <cstdint>

namespace frn {

// Backwards, a thread begins with what it ended with in a run of as many tasks before, which is
// still in its caches.
enum class TaskOrder { kForwards, kBackwards };

// The task that comes i-th.
inline int64_t IndexOf(int64_t i, int64_t count, TaskOrder order) {
  return order == TaskOrder::kForwards ? i : count - 1 - i;
}

class Executor {
 public:
  virtual ~Executor() = default;

  // Runs task(self, i) for each i in [0, count), on any threads; returns when all are done. Tasks
  // throw nothing. The order is for speed alone: results do not depend on it.
  virtual void Run(int64_t count, void (*task)(void* self, int64_t i), void* self,
                   TaskOrder order) = 0;

  // How many threads may take part, as far as it is known. For speed alone: results do not depend
  // on it.
  virtual int64_t threads() const = 0;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_EXECUTOR_H_
