// The process's one team of threads, lent to one call at a time.

#ifndef FRN_ONNX_CPU_SHARED_TEAM_H_
#define FRN_ONNX_CPU_SHARED_TEAM_H_

#include <cstdint>

#include "cpu/thread_team.h"

namespace frn {

// The threads of one call. Takes no lock: a call that needs one thread touches nothing shared, and
// one that finds the team lent to another does its work alone. In a forked child, where the team's
// threads are not, the first call makes a new team.
class SharedTeam : public Executor {
 public:
  // As many threads as AvailableThreads() says where `threads` is 0.
  explicit SharedTeam(int threads) : wanted_(threads) {}
  ~SharedTeam() override;
  SharedTeam(const SharedTeam&) = delete;
  SharedTeam& operator=(const SharedTeam&) = delete;

  void Run(int64_t count, void (*task)(void*, int64_t), void* self, TaskOrder order) override;
  int64_t threads() const override;

 private:
  const int wanted_;
  mutable int64_t threads_ = 0;  // 0: not asked yet
  ThreadTeam* team_ = nullptr;   // lent to this call
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_SHARED_TEAM_H_
