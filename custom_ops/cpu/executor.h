// Whoever the threads belong to: ONNX Runtime's pool, or a team of our own.

#ifndef FRN_ONNX_CPU_EXECUTOR_H_
#define FRN_ONNX_CPU_EXECUTOR_H_

#include <cstdint>

namespace frn {

class Executor {
 public:
  virtual ~Executor() = default;

  // Runs task(self, i) for each i in [0, count), on any threads in any order; returns when all are
  // done. Tasks throw nothing.
  virtual void Run(int64_t count, void (*task)(void* self, int64_t i), void* self) = 0;

  // How many threads may take part, as far as it is known. For speed alone: results do not depend
  // on it.
  virtual int64_t threads() const = 0;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_EXECUTOR_H_
