#include "cpu/machine.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "cpu/cgroup.h"

namespace frn {
namespace {

int AllowedCpus() {
#if defined(__linux__)
  // The kernel says EINVAL where the set is smaller than its own.
  for (int cpus = CPU_SETSIZE; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* const set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const size_t size = CPU_ALLOC_SIZE(cpus);
    const int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// What CpuQuota("") said within the last second. Two threads may both look: they find the same.
double RecentQuota() {
  static std::atomic<int64_t> read_at{-1};  // seconds
  static std::atomic<double> quota{0};
  const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::steady_clock::now().time_since_epoch())
                          .count();
  if (read_at.load(std::memory_order_acquire) != now) {
    quota = CpuQuota("");
    read_at.store(now, std::memory_order_release);
  }
  return quota;
}

}  // namespace

int AvailableThreads() {
  const int allowed = AllowedCpus();
  if (allowed == 1) return 1;
  const double quota = std::ceil(RecentQuota());
  return quota < allowed ? std::max(1, static_cast<int>(quota)) : allowed;
}

}  // namespace frn
