// ONNX Runtime's own thread pool, the one the session's other kernels run on.

#ifndef FRN_ONNX_CPU_ORT_EXECUTOR_H_
#define FRN_ONNX_CPU_ORT_EXECUTOR_H_

#include <atomic>
#include <thread>

#include "cpu/executor.h"
#include "frn_node.h"

namespace frn {

class OrtExecutor : public Executor {
 public:
  OrtExecutor(const OrtApi& api, const OrtKernelContext* context, int64_t threads)
      : api_(api), context_(context), threads_(threads) {}

  int64_t threads() const override { return threads_; }

  // ONNX Runtime gives a thread the same part of the tasks in every run, from its beginning on:
  // backwards it would be another thread's, whose caches have what it wrote, and to fetch that
  // takes several times as long as to read it. Where the caller's thread did all of the run before,
  // as that of a pool of one does, it may well begin with the last.
  void Run(int64_t count, void (*task)(void*, int64_t), void* self, TaskOrder order) override {
    struct Call {
      void (*task)(void*, int64_t);
      void* self;
      int64_t count;
      TaskOrder order;
      std::thread::id caller;
      std::atomic<bool> alone{true};
    } call{task, self, count, alone_ ? order : TaskOrder::kForwards, std::this_thread::get_id()};
    const auto run = [](void* data, size_t i) {
      Call& call = *static_cast<Call*>(data);
      if (std::this_thread::get_id() != call.caller) call.alone = false;
      call.task(call.self, IndexOf(static_cast<int64_t>(i), call.count, call.order));
    };
    Check(api_,
          api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0, &call));
    alone_ = call.alone;
  }

 private:
  const OrtApi& api_;
  const OrtKernelContext* context_;
  const int64_t threads_;
  bool alone_ = true;  // in the last run
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_ORT_EXECUTOR_H_
