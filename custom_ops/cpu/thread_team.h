// Threads for calls that come without ONNX Runtime: the Python function on arrays, the benchmarks
// and the tests. As in ONNX Runtime's pool, each thread has a contiguous share of the tasks and
// helps others when it is done, and waits busily for a moment before it sleeps.

#ifndef FRN_ONNX_CPU_THREAD_TEAM_H_
#define FRN_ONNX_CPU_THREAD_TEAM_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/executor.h"

namespace frn {

class ThreadTeam : public Executor {
 public:
  // `threads` in all, the caller's among them.
  explicit ThreadTeam(int threads);
  ~ThreadTeam() override;
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  // One call at a time.
  void Run(int64_t count, void (*task)(void*, int64_t), void* self) override;

 private:
  // The tasks [next, end) of one thread.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  void Work(size_t thread);
  void Take(size_t thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};  // counts the calls of Run
  std::atomic<bool> stop_{false};
  std::atomic<int> busy_{0};   // workers not yet done with this round
  std::vector<Share> shares_;  // one for each thread, the caller's first
  void (*task_)(void*, int64_t) = nullptr;
  void* self_ = nullptr;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_THREAD_TEAM_H_
