// Threads for calls that come without ONNX Runtime: the Python function on arrays, the benchmarks
// and the tests. They live as long as the team, and wait busily for a moment before they sleep, as
// ONNX Runtime's do.

#ifndef FRN_ONNX_CPU_THREAD_TEAM_H_
#define FRN_ONNX_CPU_THREAD_TEAM_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "cpu/frn_cpu.h"

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
  void Work();
  void Take();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};  // counts the calls of Run
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> next_{0};  // task to be taken
  std::atomic<int> busy_{0};      // workers not yet done with this round
  int64_t count_ = 0;
  void (*task_)(void*, int64_t) = nullptr;
  void* self_ = nullptr;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_THREAD_TEAM_H_
