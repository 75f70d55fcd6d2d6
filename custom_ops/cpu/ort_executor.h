// ONNX Runtime's own thread pool, the one the session's other kernels run on.

#ifndef FRN_ONNX_CPU_ORT_EXECUTOR_H_
#define FRN_ONNX_CPU_ORT_EXECUTOR_H_

#include "cpu/executor.h"
#include "frn_node.h"

namespace frn {

class OrtExecutor : public Executor {
 public:
  OrtExecutor(const OrtApi& api, const OrtKernelContext* context, int64_t threads)
      : api_(api), context_(context), threads_(threads) {}

  int64_t threads() const override { return threads_; }

  void Run(int64_t count, void (*task)(void*, int64_t), void* self) override {
    struct Call {
      void (*task)(void*, int64_t);
      void* self;
    } call{task, self};
    const auto run = [](void* data, size_t i) {
      const Call& call = *static_cast<const Call*>(data);
      call.task(call.self, static_cast<int64_t>(i));
    };
    Check(api_,
          api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0, &call));
  }

 private:
  const OrtApi& api_;
  const OrtKernelContext* context_;
  const int64_t threads_;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_ORT_EXECUTOR_H_
