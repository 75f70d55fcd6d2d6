// Threads for calls that come without ONNX Runtime: the Python function on arrays, the benchmarks
// and the tests. As in ONNX Runtime's pool, each thread has a contiguous share of the tasks and
// helps others when it is done, and waits busily for a moment before it sleeps.

#ifndef FRN_ONNX_CPU_THREAD_TEAM_H_
#define FRN_ONNX_CPU_THREAD_TEAM_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/executor.h"

namespace frn {

class ThreadTeam : public Executor {
 public:
  // `threads` in all, the caller's among them. They are made when there is work for them; where the
  // system gives no more of them, the team makes do with those it has.
  explicit ThreadTeam(int threads) : threads_(threads) {}
  ~ThreadTeam() override;
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  // One call at a time.
  void Run(int64_t count, void (*task)(void*, int64_t), void* self, TaskOrder order) override;
  int64_t threads() const override { return threads_; }
  // Between calls. Threads that are too many then are kept, asleep.
  void set_threads(int threads) { threads_ = threads; }

 private:
  // The tasks [begin, end) of one thread, and how far they are taken.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t begin = 0, end = 0;
  };

  struct alignas(64) Worker {
    std::atomic<uint64_t> called{0};  // the round that it is wanted for
    std::atomic<bool> asleep{false};
    std::mutex mutex;  // of `wake`
    std::condition_variable wake;
    Share share;
    std::thread thread;
  };

  void Grow(int64_t workers);
  void Call(Worker& worker);
  void Work(Worker& worker, int64_t thread);
  void Take(int64_t thread);
  Share& ShareOf(int64_t thread) { return thread == 0 ? own_ : workers_[thread - 1]->share; }

  int64_t threads_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::chrono::steady_clock::time_point next_try_;  // to make a thread, after the system gave none
  Share own_;                                       // the caller's
  std::atomic<bool> stop_{false};

  // The round: the tasks of one call of Run. Workers enter it while it is open, and the caller
  // leaves it when it is closed and none is inside: it waits for no worker that came too late.
  uint64_t round_ = 0;
  std::atomic<bool> open_{false};
  std::atomic<int> inside_{0};
  int64_t taking_part_ = 0;
  void (*task_)(void*, int64_t) = nullptr;
  void* self_ = nullptr;
  TaskOrder order_ = TaskOrder::kForwards;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_THREAD_TEAM_H_
