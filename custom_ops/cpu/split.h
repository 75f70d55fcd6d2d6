// How one FRN call is cut into tasks: the arithmetic.
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

#include "cpu/machine.h"
#include "cpu/tuning.h"

namespace frn {

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

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
