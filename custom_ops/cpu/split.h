// How one FRN call is cut into tasks.
//
// Each plane is read twice, for its sum of squares and to be normalised, so the aim is that the
// second read finds it in cache, that all threads have work, and that no task is too small to be
// worth handing out. Two ways, each for planes (NCHW: a channel's elements are adjacent) and for
// rows (NHWC: a pixel's channels are adjacent):
//
//   own     a task takes whole planes, or a strip of channels of one sample, reads them twice and
//           needs no one else. Where a plane fits in the L2 cache and there are enough of them.
//   shared  planes too large or too few for that: all threads sum slices of a group of planes,
//           then all threads normalise slices of the group. The group is small enough for L3.
//
// Channels that do not fill vectors (NHWC): adjacent pixels are folded into one row of about 256
// columns, with the parameters repeated, so that C = 3 fills vectors as well as C = 256 does.

#ifndef FRN_ONNX_CPU_SPLIT_H_
#define FRN_ONNX_CPU_SPLIT_H_

#include <algorithm>
#include <cstdint>
#include <thread>

namespace frn {

inline constexpr int64_t kCacheBytes = 640 << 10;      // of x that a thread's slices may take
inline constexpr int64_t kOwnBytes = 2 * kCacheBytes;  // of a plane or sample that one task takes
inline constexpr int64_t kTaskBytes = 64 << 10;        // the least worth handing to a thread
inline constexpr int64_t kBatchBytes = 24 << 10;       // small planes: summed and normalised in L1
inline constexpr int64_t kChunkBytes = 16 << 10;       // normalised at once, the last chunk first
inline constexpr int64_t kMaxBatch = 64;               // planes of a batch
inline constexpr int64_t kStripBytes = 512;            // a strip's narrowest row
inline constexpr int64_t kFoldedColumns = 256;         // about how wide folded rows get
// From this size on X and Y do not stay in cache side by side, so Y is written past the caches: a
// plain store reads each of its lines from memory first. Measured with 32 MB of L3, some of it
// taken by others: at 12 MB this costs up to a quarter when they are quiet, and saves up to a half
// when they are not. What the system says of its size is no guide (on AMD, glibc gives that of all
// cores together).
inline constexpr int64_t kLargeBytes = 12 << 20;
// Rows, and adjacent elements, that are summed in one chain of doubles.
inline constexpr int64_t kRunRows = 1024;
inline constexpr int64_t kRunElements = 64 << 10;

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// An upper bound for the threads of the pool, which ONNX Runtime does not tell. A constant of the
// machine, not of the call: results have the same bits for every number of threads.
inline int64_t HardwareThreads() {
  static const int64_t threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  return threads;
}

// How many planes, or samples, all threads work on at once: as many as their L2 caches hold.
inline int64_t GroupSize(int64_t count, int64_t bytes) {
  return std::clamp<int64_t>(HardwareThreads() * kCacheBytes / bytes, 1, count);
}

// Into how many slices each of a group is cut: two for every thread.
inline int64_t SliceCount(int64_t group, int64_t bytes) {
  const int64_t worth = std::max<int64_t>(1, bytes / kTaskBytes);
  return std::min(worth, CeilDiv(2 * HardwareThreads(), group));
}

// [begin, end) in chunks from the last to the first: what was summed last is still in cache.
template <class F>
void Backwards(int64_t begin, int64_t end, int64_t size, F&& chunk) {
  for (int64_t stop = end; stop > begin; stop -= size) {
    const int64_t start = std::max(begin, stop - size);
    chunk(start, stop - start);
  }
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_SPLIT_H_
