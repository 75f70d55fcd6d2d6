#include "cpu/thread_team.h"

#include <algorithm>
#include <exception>

#include "cpu/machine.h"

namespace frn {
namespace {

constexpr int kSpins = 500;  // some ten microseconds: the gap between the rounds of one call
constexpr std::chrono::seconds kRetry{1};

}  // namespace

ThreadTeam::~ThreadTeam() {
  stop_ = true;
  for (const auto& worker : workers_) Call(*worker);
  for (const auto& worker : workers_) worker->thread.join();
}

void ThreadTeam::Run(int64_t count, void (*task)(void*, int64_t), void* self, TaskOrder order) {
  Grow(std::min(threads_, count) - 1);
  const int64_t available = static_cast<int64_t>(workers_.size()) + 1;
  taking_part_ = std::max<int64_t>(1, std::min({threads_, count, available}));
  task_ = task;
  self_ = self;
  order_ = order;
  for (int64_t i = 0; i < taking_part_; ++i) {
    Share& share = ShareOf(i);
    share.next = share.begin = count * i / taking_part_;
    share.end = count * (i + 1) / taking_part_;
  }
  ++round_;
  open_ = true;
  for (int64_t i = 1; i < taking_part_; ++i) Call(*workers_[i - 1]);
  Take(0);
  open_ = false;
  // Sequentially consistent, as the two lines of Work that match: either a worker sees that the
  // round is closed, or this thread sees the worker inside.
  for (int spins = 0; inside_ > 0; ++spins) {
    if (spins < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
}

// Makes threads until there are so many workers. Where the system gives none, the next try is in a
// second: trying costs more than a small call.
void ThreadTeam::Grow(int64_t workers) {
  if (static_cast<int64_t>(workers_.size()) >= workers) return;
  if (next_try_ != decltype(next_try_){} && std::chrono::steady_clock::now() < next_try_) return;
  try {
    workers_.reserve(workers);
    while (static_cast<int64_t>(workers_.size()) < workers) {
      auto worker = std::make_unique<Worker>();
      const int64_t thread = static_cast<int64_t>(workers_.size()) + 1;
      worker->thread = std::thread([this, &worker = *worker, thread] { Work(worker, thread); });
      workers_.push_back(std::move(worker));
    }
    next_try_ = {};
  } catch (const std::exception&) {  // no thread, or no memory for one
    next_try_ = std::chrono::steady_clock::now() + kRetry;
  }
}

void ThreadTeam::Call(Worker& worker) {
  worker.called = round_;
  // Sequentially consistent, as the two lines of Work that match: either the worker sees that it is
  // called, or this thread sees it asleep.
  if (!worker.asleep && !stop_) return;
  {
    const std::lock_guard<std::mutex> lock(worker.mutex);
  }  // it waits by now
  worker.wake.notify_one();
}

void ThreadTeam::Work(Worker& worker, int64_t thread) {
  uint64_t seen = 0;
  const auto ready = [&] { return stop_ || worker.called != seen; };
  while (true) {
    for (int i = 0; i < kSpins && !ready(); ++i) Pause();
    if (!ready()) {
      std::unique_lock<std::mutex> lock(worker.mutex);
      worker.asleep = true;
      worker.wake.wait(lock, ready);
      worker.asleep = false;
    }
    if (stop_) return;
    seen = worker.called;
    ++inside_;
    if (open_ && thread < taking_part_) Take(thread);
    --inside_;
  }
}

void ThreadTeam::Take(int64_t thread) {
  for (int64_t k = 0; k < taking_part_; ++k) {
    Share& share = ShareOf((thread + k) % taking_part_);
    for (int64_t i = share.next++; i < share.end; i = share.next++) {
      const int64_t place = IndexOf(i - share.begin, share.end - share.begin, order_);
      task_(self_, share.begin + place);
    }
  }
}

}  // namespace frn
