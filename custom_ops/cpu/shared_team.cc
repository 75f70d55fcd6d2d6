#include "cpu/shared_team.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include <atomic>
#include <new>

#include "cpu/machine.h"

namespace frn {
namespace {

// Never destroyed: joining threads while the process ends can hang.
ThreadTeam* team = nullptr;  // belongs to whoever made `lent` true
std::atomic<bool> lent{false};

#if !defined(_WIN32)
// The child has a copy of the team without its threads, perhaps in the middle of a call.
void AbandonTeam() {
  team = nullptr;
  lent = false;
}
// When the library is loaded, not at the first call: a fork may come between.
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, AbandonTeam);
#endif

}  // namespace

SharedTeam::~SharedTeam() {
  if (team_ != nullptr) lent.store(false, std::memory_order_release);
}

int64_t SharedTeam::threads() const {
  if (threads_ == 0) threads_ = wanted_ > 0 ? wanted_ : AvailableThreads();
  return threads_;
}

void SharedTeam::Run(int64_t count, void (*task)(void*, int64_t), void* self, TaskOrder order) {
  if (team_ == nullptr && threads() > 1 && !lent.exchange(true, std::memory_order_acquire)) {
    if (team == nullptr) team = new (std::nothrow) ThreadTeam(1);
    if (team == nullptr) {
      lent.store(false, std::memory_order_release);
    } else {
      team->set_threads(static_cast<int>(threads()));
      team_ = team;
    }
  }
  if (team_ != nullptr) {
    team_->Run(count, task, self, order);
  } else {
    for (int64_t i = 0; i < count; ++i) task(self, IndexOf(i, count, order));
  }
}

}  // namespace frn
