// How one FRN call is cut into tasks: the arithmetic. In which order squares are added follows from
// the shape alone, never from the threads, so that results have the same bits on every
// machine with the same target.
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

#include "cpu/tuning.h"

namespace frn {

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How many planes, or samples, all threads work on at once: as many as their L2 caches hold, and
// no more than an L3 cache holds, as the threads may be fewer than is known. No matter for the
// bits.
inline int64_t GroupSize(int64_t threads, int64_t count, int64_t bytes) {
  return std::clamp<int64_t>(std::min(threads * kCacheBytes, kGroupBytes) / bytes, 1, count);
}

// Into how many slices each of a group is cut, for any number of threads.
inline int64_t SliceCount(int64_t bytes) {
  return std::clamp<int64_t>(bytes / kTaskBytes, 1, kMaxSlices);
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
