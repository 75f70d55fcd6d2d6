#include "cpu/planes.h"

#include <algorithm>
#include <vector>

#include "cpu/scales.h"

namespace frn {
namespace {

// A task takes a batch of planes of one sample.
template <class T>
void OwnPlanes(const FrnCall<T>& call, int64_t bytes) {
  const FrnShape& shape = call.shape;
  const int64_t channels = shape.channels, inner = shape.inner;
  const int64_t batch = std::clamp<int64_t>(kBatchBytes / bytes, 1, std::min(channels, kMaxBatch));
  const int64_t batches = CeilDiv(channels, batch);
  call.RunUnits(shape.batch * batches, batch * bytes, [&](int64_t unit) {
    const int64_t n = unit / batches, c = unit % batches * batch;
    const int64_t count = std::min(batch, channels - c);
    double sums[kMaxBatch] = {};
    ComputeType<T> scale[kMaxBatch];
    for (int64_t o = 0; o < shape.outer; ++o) {
      call.kernels.sum_planes(call.x + call.Offset(n, o, c), count, inner, sums);
    }
    ScalesOf(call, n, c, count, sums, scale);
    const int64_t chunk = count == 1 ? kChunkBytes / static_cast<int64_t>(sizeof(T)) : inner;
    for (int64_t o = 0; o < shape.outer; ++o) {
      Backwards(0, inner, chunk, [&](int64_t begin, int64_t size) {
        const int64_t at = call.Offset(n, o, c) + begin;
        call.kernels.apply_planes(call.x + at, call.y + at, count, size, count * inner, scale,
                                  call.params.shift() + c, call.params.tau() + c, call.large);
      });
    }
  });
}

// All threads take slices of a group of planes, first to sum, then to normalise.
template <class T>
void SharedPlanes(const FrnCall<T>& call, int64_t planes, int64_t bytes) {
  const int64_t inner = call.shape.inner, channels = call.shape.channels;
  const int64_t group = GroupSize(call.executor.threads(), planes, bytes);
  const int64_t slices = SliceCount(bytes);
  const int64_t length = CeilDiv(inner, slices);
  const int64_t chunk = kChunkBytes / sizeof(T);
  std::vector<double> partial(group * slices);
  std::vector<ComputeType<T>> scale(group);
  for (int64_t first = 0; first < planes; first += group) {
    const int64_t count = std::min(group, planes - first);
    call.Run(count * slices, [&](int64_t i) {
      const int64_t at = i % slices * length, end = std::min(inner, at + length);
      const T* plane = call.x + (first + i / slices) * inner;
      partial[i] = 0;
      for (int64_t run = at; run < end; run += kRunElements) {
        call.kernels.sum_planes(plane + run, 1, std::min(kRunElements, end - run), &partial[i]);
      }
    });
    for (int64_t p = 0; p < count; ++p) {
      double sum = 0;
      for (int64_t s = 0; s < slices; ++s) sum += partial[p * slices + s];
      const int64_t plane = first + p;
      ScalesOf(call, plane / channels, plane % channels, 1, &sum, &scale[p]);
    }
    call.Run(count * slices, [&](int64_t i) {
      const int64_t at = i % slices * length, p = i / slices;
      const int64_t end = std::min(inner, at + length), c = (first + p) % channels;
      Backwards(at, end, chunk, [&](int64_t begin, int64_t size) {
        const int64_t offset = (first + p) * inner + begin;
        call.kernels.apply_planes(call.x + offset, call.y + offset, 1, size, group * inner,
                                  &scale[p], call.params.shift() + c, call.params.tau() + c,
                                  call.large);
      });
    });
  }
}

}  // namespace

template <class T>
void ComputePlanes(const FrnCall<T>& call) {
  const int64_t planes = call.shape.batch * call.shape.channels;
  const int64_t bytes = call.shape.plane() * static_cast<int64_t>(sizeof(T));
  const bool few = planes < kFewTasks && bytes > 2 * kTaskBytes;
  if (call.shape.outer == 1 && (bytes > kOwnBytes || few)) {
    SharedPlanes(call, planes, bytes);
  } else {
    OwnPlanes(call, bytes);
  }
}

#define FRN_INSTANTIATE(T) template void ComputePlanes(const FrnCall<T>&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
