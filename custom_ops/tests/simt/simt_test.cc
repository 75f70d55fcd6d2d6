// The emulator itself: each kind of mistake it is there to find, in a kernel of a few lines.

#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/simt/device.h"

namespace {

using simt::Grid;
using simt::Order;

int failures = 0;

void Expect(bool condition, const char* name, const std::string& detail) {
  if (condition) return;
  ++failures;
  std::printf("FAILED %s: %s\n", name, detail.c_str());
}

// The error that running `body` raises, "" for none.
std::string ErrorOf(const Grid& grid, const std::function<void()>& body) {
  try {
    simt::Launch(grid, body);
  } catch (const simt::Error& error) {
    return error.what();
  }
  return "";
}

void ExpectError(const char* name, const Grid& grid, const std::string& part,
                 const std::function<void()>& body) {
  const std::string error = ErrorOf(grid, body);
  Expect(error.find(part) != std::string::npos, name,
         "expected '" + part + "', got '" + error + "'");
  // The emulator goes on after an error.
  int ran = 0;
  Expect(ErrorOf(grid, [&] { ++ran; }).empty() && ran == grid.blocks * grid.threads, name,
         "the launch after the error failed");
}

Grid MakeGrid(int64_t blocks, int threads, int cluster = 1, int smem_bytes = 4096) {
  Grid grid;
  grid.blocks = blocks;
  grid.threads = threads;
  grid.cluster = cluster;
  grid.smem_bytes = smem_bytes;
  return grid;
}

float* SharedFloats() { return reinterpret_cast<float*>(simt::SharedMemory()); }
int Thread() { return static_cast<int>(threadIdx.x); }

// Each thread writes a slot, and reads another's, of its block or of the next block.
void Exchange(bool with_barrier, std::vector<float>* out) {
  const int threads = static_cast<int>(blockDim.x);
  SharedFloats()[Thread()] = static_cast<float>(Thread());
  if (with_barrier) simt::SyncBlock();
  (*out)[Thread()] = SharedFloats()[threads - 1 - Thread()];
}

void TestBarriers() {
  std::vector<float> out(64);
  bool exposed = false;
  for (const Order order : {Order::kForward, Order::kReversed, Order::kShuffled}) {
    Grid grid = MakeGrid(1, 64);
    grid.order = order;
    simt::Launch(grid, [&] { Exchange(true, &out); });
    for (int i = 0; i < 64; ++i) Expect(out[i] == 63.0f - i, "barrier", std::to_string(i));
    simt::Launch(grid, [&] { Exchange(false, &out); });
    for (int i = 0; i < 64; ++i) exposed |= out[i] != 63.0f - i;
  }
  Expect(exposed, "missing barrier", "not exposed in any order");

  ExpectError("barrier for some", MakeGrid(2, 64), "deadlock: 63 threads wait, 1 have ended", [] {
    if (Thread() != 5) simt::SyncBlock();
  });
  ExpectError("two barriers", MakeGrid(1, 64), "threads are at line", [] {
    if (Thread() < 32) {
      simt::SyncBlock();
    } else {
      simt::SyncBlock();
    }
  });
}

void TestShuffles() {
  std::vector<float> out(64);
  simt::Launch(MakeGrid(1, 64), [&] {
    float sum = static_cast<float>(Thread());
    for (int mask = 16; mask > 0; mask /= 2) sum += simt::ShuffleXor(sum, mask);
    out[Thread()] = sum;
  });
  for (int i = 0; i < 64; ++i) {
    Expect(out[i] == (i < 32 ? 496.0f : 1520.0f), "shuffle", std::to_string(out[i]));
  }
  ExpectError("part of a warp", MakeGrid(1, 64), "waits at a warp shuffle", [] {
    if (Thread() % 32 < 16) simt::ShuffleXor(1.0f, 1);
  });
}

void TestClusters() {
  std::vector<float> out(4);
  simt::Launch(MakeGrid(4, 32, 2), [&] {
    const int rank = static_cast<int>(blockIdx.x) % 2;
    if (Thread() == 0) *SharedFloats() = static_cast<float>(blockIdx.x);
    simt::ArriveCluster();
    simt::WaitCluster();
    if (Thread() == 0) {
      out[blockIdx.x] = *static_cast<float*>(simt::ClusterPeer(SharedFloats(), 1 - rank));
    }
    simt::ArriveCluster();
    simt::WaitCluster();
  });
  Expect(out == std::vector<float>({1, 0, 3, 2}), "cluster", "a peer's memory is not the peer's");

  ExpectError("block that left", MakeGrid(2, 32, 2), "shared memory of a block that has ended", [] {
    simt::ArriveCluster();
    simt::WaitCluster();
    simt::ClusterPeer(SharedFloats(), 1 - static_cast<int>(blockIdx.x) % 2);
  });
  ExpectError("early", MakeGrid(2, 32, 2), "shared memory of a block that has not started",
              [] { simt::ClusterPeer(SharedFloats(), 1 - static_cast<int>(blockIdx.x) % 2); });
  ExpectError("no such block", MakeGrid(2, 32, 2), "no block 2",
              [] { simt::ClusterPeer(SharedFloats(), 2); });
  ExpectError("wait alone", MakeGrid(1, 32), "WaitCluster without ArriveCluster",
              [] { simt::WaitCluster(); });
  ExpectError("arrive twice", MakeGrid(1, 32), "ArriveCluster twice", [] {
    simt::ArriveCluster();
    simt::ArriveCluster();
  });
}

// Thread i copies its own number three times, a group each, and looks after one wait.
void CopyThrice(int pending, const std::vector<float>& in, std::vector<float>* out) {
  const int threads = static_cast<int>(blockDim.x);
  float* slots = SharedFloats() + Thread();
  for (int group = 0; group < 3; ++group) {
    simt::CopyAsync(slots + group * threads, &in[Thread()], sizeof(float));
    simt::CommitCopies();
  }
  simt::WaitCopies(pending);
  for (int group = 0; group < 3; ++group) {
    (*out)[group * threads + Thread()] = slots[group * threads];
  }
  simt::WaitCopies(0);
}

void TestCopies() {
  std::vector<float> in(32), out(96);
  for (int i = 0; i < 32; ++i) in[i] = static_cast<float>(i);
  for (int pending = 0; pending <= 3; ++pending) {
    simt::Launch(MakeGrid(1, 32), [&] { CopyThrice(pending, in, &out); });
    for (int i = 0; i < 96; ++i) {
      const bool arrived = i / 32 < 3 - pending;
      Expect(arrived ? out[i] == in[i % 32] : out[i] != out[i], "copy",
             std::to_string(pending) + " pending, slot " + std::to_string(i));
    }
  }
  std::vector<float> source(32, 1.0f);
  simt::Launch(MakeGrid(1, 32), [&] {
    simt::CopyAsync(SharedFloats() + Thread(), &source[Thread()], sizeof(float));
    simt::CommitCopies();
    source[Thread()] = 2.0f;
    simt::WaitCopies(0);
    Expect(SharedFloats()[Thread()] == 2.0f, "copy", "the source is read before the wait");
  });
  const auto copy = [&](int offset, int bytes) {
    return [&in, offset, bytes] {
      simt::CopyAsync(simt::SharedMemory() + offset, in.data(), bytes);
      simt::WaitCopies(0);
    };
  };
  ExpectError("copy not committed", MakeGrid(1, 32), "copies under way", copy(0, 4));
  ExpectError("copy off its line", MakeGrid(1, 32), "misaligned asynchronous copy", copy(4, 16));
  ExpectError("copy past the end", MakeGrid(1, 32, 1, 64), "not in shared memory", copy(64, 4));
  ExpectError("copy of 2 bytes", MakeGrid(1, 32), "has 4, 8 or 16 bytes", copy(0, 2));
}

void TestMemory() {
  ExpectError("past the end", MakeGrid(1, 32, 1, 64), "wrote 4 bytes past", [] {
    if (Thread() == 0) SharedFloats()[17] = 1.0f;
  });
  alignas(16) char bytes[32] = {};
  const auto* misaligned = reinterpret_cast<const uint4*>(bytes + 4);
  ExpectError("misaligned", MakeGrid(1, 32), "misaligned load",
              [&] { frn::cuda::Load(misaligned); });
  simt::Launch(MakeGrid(1, 32), [] {
    Expect(SharedFloats()[Thread()] != SharedFloats()[Thread()], "poison", "memory is not NaN");
  });
}

// All float16 values survive the way to float and back; halfway cases go to the even neighbour.
void TestHalves() {
  using frn::cuda::F16;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const float value = frn::cuda::ToFloat(half);
    if (value != value) continue;
    Expect(frn::cuda::ToF16(value).bits == bits, "float16", std::to_string(bits));
    const float next = frn::cuda::ToFloat(F16{static_cast<uint16_t>(bits + 1)});
    if ((bits & 0x7fff) >= 0x7bff || next != next) continue;
    const uint32_t even = bits + (bits & 1);
    Expect(frn::cuda::ToF16((value + next) / 2).bits == even, "float16 halfway",
           std::to_string(bits));
  }
  Expect(frn::cuda::ToF16(65519.0f).bits == 0x7bff, "float16", "largest");
  Expect(frn::cuda::ToF16(65520.0f).bits == 0x7c00, "float16", "overflow");
  Expect(frn::cuda::ToBF16(1.00390625f).bits == 0x3f80, "bfloat16", "halfway, to even");
  Expect(frn::cuda::ToBF16(1.01171875f).bits == 0x3f82, "bfloat16", "halfway, to even");
}

}  // namespace

int main() {
  TestBarriers();
  TestShuffles();
  TestClusters();
  TestCopies();
  TestMemory();
  TestHalves();
  std::printf("emulator: %d failed\n", failures);
  return failures == 0 ? 0 : 1;
}
