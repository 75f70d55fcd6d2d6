// longjmp between stacks is the point here; its fortified version takes it for a mistake.
#undef _FORTIFY_SOURCE

#include "tests/simt/simt.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

SimtIndex threadIdx, blockIdx, blockDim;

namespace simt {
namespace {

constexpr int kWarp = 32;
// No multiple of a page: stacks that all lie alike would share few lines of the CPU's caches.
constexpr size_t kStackBytes = (32 << 10) + 576;
constexpr size_t kCanaryBytes = 256;  // behind a block's shared memory
constexpr int kPoison = 0xff;         // NaN as float, float16 and bfloat16

// A meeting of `size` threads. `round` counts those that are complete.
struct Meeting {
  int size = 0;
  int arrived = 0;
  int line = 0;
  uint64_t round = 0;

  void Arrive(const char* what, int at_line) {
    if (arrived > 0 && at_line != line) {
      Fail(std::string(what) + ": threads are at line " + std::to_string(line) + " and at line " +
           std::to_string(at_line));
    }
    line = at_line;
    if (++arrived == size) {
      arrived = 0;
      ++round;
    }
  }
};

struct Warp {
  Meeting meeting;
  // Two sets: a lane may write for the next shuffle while another has yet to read this one's.
  float values[2][kWarp];
};

struct Block {
  uint32_t index = 0;
  bool started = false;  // one of its threads ran
  int running = 0;       // threads that have not ended
  Meeting barrier;
  std::vector<Warp> warps;
  std::vector<char> memory;  // aligned by hand
  char* shared = nullptr;
};

struct Copy {
  void* to;
  const void* from;
  int bytes;
  uint64_t group;
};

struct Fiber {
  bool fresh = true;  // has no frame yet
  bool ended = true;
  bool cluster_arrived = false;  // between ArriveCluster and WaitCluster
  int thread = 0;
  Block* block = nullptr;
  const Meeting* waits_for = nullptr;
  const char* waits_at = "";
  uint64_t until = 0;          // the round it waits for
  uint64_t cluster_round = 0;  // what WaitCluster waits for
  std::deque<Copy> copies;     // not waited for, the oldest first
  uint64_t groups = 0;         // of copies, committed
  jmp_buf resume;
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};

  bool Ready() const { return !ended && (waits_for == nullptr || waits_for->round >= until); }
};

// The emulated device. Fibers live on from launch to launch: making one costs system calls.
struct Device {
  Grid grid;
  const std::function<void()>* body = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Block> blocks;  // of the cluster at hand
  Meeting cluster;
  Fiber* current = nullptr;
  jmp_buf scheduler;
  std::string error;
};
Device device;

void Yield() {
  if (_setjmp(device.current->resume) == 0) _longjmp(device.scheduler, 1);
}

void WaitFor(const Meeting& meeting, uint64_t round, const char* what) {
  Fiber& fiber = *device.current;
  if (meeting.round >= round) return;
  fiber.waits_for = &meeting;
  fiber.waits_at = what;
  fiber.until = round;
  Yield();
}

void FiberMain() {
  for (;;) {
    try {
      (*device.body)();
      if (!device.current->copies.empty()) Fail("ended with asynchronous copies under way");
    } catch (const std::exception& error) {
      if (device.error.empty()) device.error = error.what();
    }
    device.current->ended = true;
    Yield();
  }
}

void Resume(Fiber* fiber) {
  device.current = fiber;
  fiber->waits_for = nullptr;
  fiber->block->started = true;
  threadIdx.x = fiber->thread;
  blockIdx.x = fiber->block->index;
  if (_setjmp(device.scheduler) != 0) return;
  if (!fiber->fresh) _longjmp(fiber->resume, 1);
  fiber->fresh = false;
  setcontext(&fiber->context);
}

// Forgets the frames of fibers that were left in the middle of a kernel.
void AbandonFibers() {
  for (auto& fiber : device.fibers) {
    fiber->fresh = fiber->ended = true;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber->context, FiberMain, 0);
  }
}

void GrowFibers(size_t count) {
  if (device.fibers.size() >= count) return;
  while (device.fibers.size() < count) device.fibers.push_back(std::make_unique<Fiber>());
  AbandonFibers();
}

std::string ThreadName(const Fiber& fiber) {
  return "block " + std::to_string(fiber.block->index) + " thread " + std::to_string(fiber.thread);
}

std::string Deadlock() {
  std::string text = "deadlock:";
  int waiting = 0, ended = 0;
  const Fiber* example = nullptr;
  const size_t count = device.blocks.size() * device.grid.threads;
  for (size_t i = 0; i < count; ++i) {
    const Fiber& fiber = *device.fibers[i];
    (fiber.ended ? ended : waiting)++;
    if (!fiber.ended) example = &fiber;
  }
  return text + " " + std::to_string(waiting) + " threads wait, " + std::to_string(ended) +
         " have ended; " + ThreadName(*example) + " waits at " + example->waits_at + " (line " +
         std::to_string(example->waits_for->line) + ")";
}

void PoisonShared(Block* block) { std::memset(block->shared, kPoison, device.grid.smem_bytes); }

void StartBlock(Block* block, uint32_t index) {
  const Grid& grid = device.grid;
  block->index = index;
  block->started = false;
  block->running = grid.threads;
  block->barrier = Meeting{grid.threads};
  block->warps.assign(grid.threads / kWarp, Warp{Meeting{kWarp}, {}});
  block->memory.resize(grid.smem_bytes + kCanaryBytes + 16);
  block->shared =
      block->memory.data() + (16 - reinterpret_cast<uintptr_t>(block->memory.data()) % 16) % 16;
  std::memset(block->shared, kPoison, grid.smem_bytes + kCanaryBytes);
}

void EndBlock(Block* block) {
  const char* canary = block->shared + device.grid.smem_bytes;
  for (size_t i = 0; i < kCanaryBytes; ++i) {
    if (canary[i] != static_cast<char>(kPoison)) {
      throw Error("SIMT: block " + std::to_string(block->index) + " wrote " + std::to_string(i) +
                  " bytes past its shared memory");
    }
  }
  PoisonShared(block);
}

// The order in which a cluster's warps are taken, and a warp's lanes.
class Schedule {
 public:
  explicit Schedule(const Grid& grid)
      : shuffled_(grid.order == Order::kShuffled),
        random_(grid.seed),
        warps_(grid.cluster * grid.threads / kWarp),
        lanes_(kWarp) {
    for (std::vector<int>* order : {&warps_, &lanes_}) {
      std::iota(order->begin(), order->end(), 0);
      if (grid.order == Order::kReversed) std::reverse(order->begin(), order->end());
    }
  }

  const std::vector<int>& Warps() { return Next(&warps_); }
  const std::vector<int>& Lanes() { return Next(&lanes_); }

 private:
  const std::vector<int>& Next(std::vector<int>* order) {
    if (shuffled_) std::shuffle(order->begin(), order->end(), random_);
    return *order;
  }

  const bool shuffled_;
  std::minstd_rand random_;
  std::vector<int> warps_, lanes_;
};

// Takes each lane as far as it goes; whether any moved.
bool RunWarp(int warp, const std::vector<int>& lanes) {
  bool moved = false;
  for (const int lane : lanes) {
    Fiber* fiber = device.fibers[warp * kWarp + lane].get();
    if (!fiber->Ready()) continue;
    moved = true;
    Resume(fiber);
    if (!device.error.empty()) throw Error("SIMT: " + ThreadName(*fiber) + ": " + device.error);
    if (fiber->ended && --fiber->block->running == 0) EndBlock(fiber->block);
  }
  return moved;
}

void RunCluster(int64_t first_block, Schedule* schedule) {
  const Grid& grid = device.grid;
  device.cluster = Meeting{grid.threads * grid.cluster};
  for (int rank = 0; rank < grid.cluster; ++rank) {
    StartBlock(&device.blocks[rank], static_cast<uint32_t>(first_block + rank));
    for (int thread = 0; thread < grid.threads; ++thread) {
      Fiber& fiber = *device.fibers[rank * grid.threads + thread];
      fiber.block = &device.blocks[rank];
      fiber.thread = thread;
      fiber.ended = fiber.cluster_arrived = false;
      fiber.waits_for = nullptr;
      fiber.copies.clear();
      fiber.groups = 0;
    }
  }
  const auto running = [](const Block& block) { return block.running > 0; };
  while (std::any_of(device.blocks.begin(), device.blocks.end(), running)) {
    bool moved = false;
    for (const int warp : schedule->Warps()) {
      while (RunWarp(warp, schedule->Lanes())) moved = true;
    }
    if (!moved) throw Error("SIMT: " + Deadlock());
  }
}

}  // namespace

void Launch(const Grid& grid, const std::function<void()>& body) {
  if (grid.threads % kWarp != 0 || grid.threads <= 0 || grid.cluster <= 0 ||
      grid.blocks % grid.cluster != 0) {
    throw Error("SIMT: threads must be a multiple of 32, and blocks one of the cluster");
  }
  device.grid = grid;
  device.body = &body;
  device.error.clear();
  device.blocks.resize(grid.cluster);
  blockDim.x = grid.threads;
  GrowFibers(grid.threads * grid.cluster);
  Schedule schedule(grid);
  try {
    for (int64_t block = 0; block < grid.blocks; block += grid.cluster) {
      RunCluster(block, &schedule);
    }
  } catch (const Error&) {
    AbandonFibers();
    throw;
  }
}

char* SharedMemory() { return device.current->block->shared; }

void SyncBlock(int line) {
  Meeting& barrier = device.current->block->barrier;
  const uint64_t round = barrier.round + 1;
  barrier.Arrive("block barrier", line);
  WaitFor(barrier, round, "a block barrier");
}

float ShuffleXor(float value, int mask, int line) {
  const int lane = device.current->thread % kWarp;
  Warp& warp = device.current->block->warps[device.current->thread / kWarp];
  const uint64_t round = warp.meeting.round + 1;
  float* values = warp.values[round % 2];
  values[lane] = value;
  warp.meeting.Arrive("warp shuffle", line);
  WaitFor(warp.meeting, round, "a warp shuffle");
  return values[lane ^ mask];
}

void ArriveCluster() {
  Fiber& fiber = *device.current;
  if (fiber.cluster_arrived) Fail("ArriveCluster twice without WaitCluster");
  fiber.cluster_arrived = true;
  fiber.cluster_round = device.cluster.round + 1;
  device.cluster.Arrive("cluster barrier", 0);
}

void WaitCluster() {
  Fiber& fiber = *device.current;
  if (!fiber.cluster_arrived) Fail("WaitCluster without ArriveCluster");
  fiber.cluster_arrived = false;
  WaitFor(device.cluster, fiber.cluster_round, "a cluster barrier");
}

void* ClusterPeer(void* local, int rank) {
  if (rank < 0 || rank >= device.grid.cluster) Fail("no block " + std::to_string(rank));
  const Block& peer = device.blocks[rank];
  if (!peer.started) Fail("shared memory of a block that has not started");
  if (peer.running == 0) Fail("shared memory of a block that has ended");
  const std::ptrdiff_t offset = static_cast<char*>(local) - SharedMemory();
  if (offset < 0 || offset >= device.grid.smem_bytes) Fail("not in shared memory");
  return peer.shared + offset;
}

void CopyAsync(void* shared, const void* global, int bytes) {
  if (bytes != 4 && bytes != 8 && bytes != 16) Fail("an asynchronous copy has 4, 8 or 16 bytes");
  if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes != 0) {
    Fail("misaligned asynchronous copy");
  }
  const std::ptrdiff_t offset = static_cast<char*>(shared) - SharedMemory();
  if (offset < 0 || offset + bytes > device.grid.smem_bytes) Fail("not in shared memory");
  std::memset(shared, kPoison, bytes);
  device.current->copies.push_back({shared, global, bytes, device.current->groups});
}

void CommitCopies() { ++device.current->groups; }

void WaitCopies(int pending) {
  Fiber& fiber = *device.current;
  while (!fiber.copies.empty() && fiber.copies.front().group + pending < fiber.groups) {
    const Copy& copy = fiber.copies.front();
    std::memcpy(copy.to, copy.from, copy.bytes);
    fiber.copies.pop_front();
  }
}

void Fail(const std::string& what) { throw Error(what); }

}  // namespace simt
