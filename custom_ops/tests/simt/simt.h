// SIMT emulator: runs a CUDA kernel's source, compiled as C++, on one CPU thread.
//
// Every CUDA thread is a fiber. A fiber runs until it waits for others (block barrier, warp
// shuffle, cluster barrier) or ends; the scheduler then takes the next one, in the order asked
// for: where a barrier is missing, one order or another gives a wrong result. The blocks of a
// cluster run together, clusters one after the other.
//
// Reported, as an Error: barriers and shuffles that not all threads reach, or reach at different
// lines; deadlock; vectors off their alignment; writes past a block's shared memory; use of the
// shared memory of a block that has ended, or has not started; asynchronous
// copies nobody waits for. Shared memory begins as NaN, and is
// NaN again once its block ended.
//
// Not modelled: speed, weak memory ordering, launch limits, the rounding of rsqrtf.

#ifndef FRN_ONNX_TESTS_SIMT_SIMT_H_
#define FRN_ONNX_TESTS_SIMT_SIMT_H_

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace simt {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Order { kForward, kReversed, kShuffled };

struct Grid {
  int64_t blocks = 1;
  int threads = 32;    // per block, a multiple of 32
  int cluster = 1;     // divides blocks
  int smem_bytes = 0;  // per block
  Order order = Order::kForward;
  uint32_t seed = 1;  // of kShuffled
};

// Runs body() once for each thread of the grid. Throws Error. For one caller at a time.
void Launch(const Grid& grid, const std::function<void()>& body);

// What follows is for code called by `body`. The line is part of a barrier's or a shuffle's
// identity: all threads must meet at the same one.
char* SharedMemory();
void SyncBlock(int line = __builtin_LINE());
float ShuffleXor(float value, int mask, int line = __builtin_LINE());
void ArriveCluster();
void WaitCluster();
// The address in block `rank`'s shared memory that `local` is in this block's.
void* ClusterPeer(void* local, int rank);
// An asynchronous copy into shared memory. Its target is NaN until the thread waits for its group,
// and its source is read only then. WaitCopies waits for all groups but the last `pending`.
void CopyAsync(void* shared, const void* global, int bytes);
void CommitCopies();
void WaitCopies(int pending);
[[noreturn]] void Fail(const std::string& what);

}  // namespace simt

// CUDA's own names.
struct SimtIndex {
  uint32_t x;
};
extern SimtIndex threadIdx, blockIdx, blockDim;

#endif  // FRN_ONNX_TESTS_SIMT_SIMT_H_
