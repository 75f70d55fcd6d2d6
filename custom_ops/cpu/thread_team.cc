#include "cpu/thread_team.h"

namespace frn {
namespace {

constexpr int kSpins = 20000;  // some ten microseconds: the gap between the rounds of one call

}  // namespace

ThreadTeam::ThreadTeam(int threads) : shares_(threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Work(i); });
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::Run(int64_t count, void (*task)(void*, int64_t), void* self) {
  task_ = task;
  self_ = self;
  const int64_t threads = static_cast<int64_t>(shares_.size());
  for (int64_t i = 0; i < threads; ++i) {
    shares_[i].next = count * i / threads;
    shares_[i].end = count * (i + 1) / threads;
  }
  busy_ = static_cast<int>(workers_.size());
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++round_;
  }
  wake_.notify_all();
  Take(0);
  while (busy_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
}

void ThreadTeam::Work(size_t thread) {
  uint64_t seen = 0;
  const auto ready = [&] { return stop_.load() || round_.load() != seen; };
  while (true) {
    for (int i = 0; i < kSpins && !ready(); ++i) {
    }
    if (!ready()) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, ready);
    }
    if (stop_) return;
    seen = round_;
    Take(thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadTeam::Take(size_t thread) {
  for (size_t k = 0; k < shares_.size(); ++k) {
    Share& share = shares_[(thread + k) % shares_.size()];
    for (int64_t i = share.next++; i < share.end; i = share.next++) task_(self_, i);
  }
}

}  // namespace frn
