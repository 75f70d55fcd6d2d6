#include "cpu/planes.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "cpu/scales.h"

namespace frn {
namespace {

// `planes` planes from element `at` on, n elements of each, one behind the other. factor: nullptr
// where there is none.
template <class T, class A = ComputeType<T>>
void ApplyPlanes(const FrnCall<T>& call, int64_t at, int64_t planes, int64_t n, int64_t ahead,
                 int64_t c, const A* factor, const A* scale) {
  const T *x = call.x + at, *residual = call.ResidualAt(at);
  T* y = call.y + at;
  const A* shift = call.params.shift(0) + c;
  const A* tau = call.params.tau(0) + c;
  if (factor == nullptr) {
    call.kernels.apply_planes(x, residual, y, planes, n, ahead, scale, shift, tau, call.large);
  } else {
    call.kernels.apply_planes_scaled(x, residual, y, planes, n, factor, scale, shift, tau);
  }
}

// How many planes to take at once, about as many as `fit`: they are summed by as many as a vector
// has lanes.
template <class T>
int64_t BatchOf(int64_t fit, const Kernels<T>& kernels) {
  const int64_t lanes = kernels.lanes();
  const int64_t whole = (fit + lanes / 2) / lanes * lanes;
  return std::clamp<int64_t>(whole > 0 ? whole : fit, 1, kMaxBatch);
}

// f(n, c, count) for batches of planes of one sample: channels c, c + 1, ... of sample n.
template <class T, class F>
void RunBatches(const FrnCall<T>& call, int64_t most, int64_t bytes, F&& f) {
  const int64_t channels = call.shape.channels, batch = std::min(channels, most);
  const int64_t batches = CeilDiv(channels, batch);
  call.RunUnits(call.shape.batch * batches, batch * bytes, [&](int64_t unit) {
    const int64_t c = unit % batches * batch;
    f(unit / batches, c, std::min(batch, channels - c));
  });
}

// A task takes a batch of planes of one sample.
template <class T>
void OwnPlanes(const FrnCall<T>& call, int64_t bytes) {
  const FrnShape& shape = call.shape;
  const int64_t inner = shape.inner;
  const int64_t fit = (call.large ? kLargeBatchBytes : kBatchBytes) / bytes;
  RunBatches(call, BatchOf(fit, call.kernels), bytes, [&](int64_t n, int64_t c, int64_t count) {
    using A = ComputeType<T>;
    double sums[kMaxBatch], spare[kMaxBatch];
    A factor[kMaxBatch], scale[kMaxBatch];
    const auto sum = [&](const A* factor, double* sums) {
      std::fill_n(sums, count, 0.0);
      for (int64_t o = 0; o < shape.outer; ++o) {
        const T* x = call.x + call.Offset(n, o, c);
        if (factor == nullptr) {
          call.kernels.sum_planes(x, count, inner, sums);
        } else {
          call.kernels.sum_planes_scaled(x, count, inner, factor, sums);
        }
      }
    };
    const bool factored = SumAndScale(call, n, c, count, sums, spare, factor, scale, sum);
    const int64_t chunk = count == 1 ? kChunkBytes / static_cast<int64_t>(sizeof(T)) : inner;
    for (int64_t o = 0; o < shape.outer; ++o) {
      Backwards(0, inner, chunk, [&](int64_t begin, int64_t size) {
        ApplyPlanes(call, call.Offset(n, o, c) + begin, count, size, count * inner, c,
                    factored ? factor : nullptr, scale);
      });
    }
  });
}

// Whether planes are normalised as many at once as a vector has lanes. With vectors of 16 bytes
// that is worth it up to two of them.
template <class T>
bool ArePlanesSmall(const FrnShape& shape, const Kernels<T>& kernels) {
  const int64_t lanes = kernels.lanes();
  const bool wide = lanes * static_cast<int64_t>(sizeof(ComputeType<T>)) > 16;
  return shape.outer == 1 && shape.inner <= (wide ? kSmallPlane : 2 * lanes);
}

// As many of a sample by one call as stay in L1.
template <class T>
void SmallPlanes(const FrnCall<T>& call, int64_t bytes) {
  const int64_t lanes = call.kernels.lanes();
  const int64_t most = CeilDiv(kChunkBytes / bytes, lanes) * lanes;
  RunBatches(call, most, bytes, [&](int64_t n, int64_t c, int64_t count) {
    const int64_t at = call.Offset(n, 0, c);
    call.kernels.apply_small_planes(call.x + at, call.ResidualAt(at), call.y + at, count,
                                    call.shape.inner, call.params.gamma(n) + c,
                                    call.params.shift(n) + c, call.params.tau(n) + c,
                                    call.params.epsilon(n) + c, call.large);
  });
}

// All threads take slices of a group of planes, first to sum, then to normalise.
template <class T>
void SharedPlanes(const FrnCall<T>& call, int64_t planes, int64_t bytes) {
  using A = ComputeType<T>;
  const int64_t inner = call.shape.inner, channels = call.shape.channels;
  const int64_t group = GroupSize(call.executor.threads(), planes, bytes);
  const int64_t slices = SliceCount(bytes);
  const int64_t length = CeilDiv(inner, slices);
  const int64_t chunk = kChunkBytes / sizeof(T);
  const auto end_of = [&](int64_t slice) { return std::min(inner, (slice + 1) * length); };
  std::vector<double> partial(group * slices), again(slices);
  std::vector<A> factor(group), scale(group);
  for (int64_t first = 0; first < planes; first += group) {
    const int64_t count = std::min(group, planes - first);
    call.Run(count * slices, [&](int64_t i) {
      const T* plane = call.x + (first + i / slices) * inner;
      const int64_t end = end_of(i % slices);
      partial[i] = 0;
      for (int64_t run = i % slices * length; run < end; run += kRunElements) {
        call.kernels.sum_planes(plane + run, 1, std::min(kRunElements, end - run), &partial[i]);
      }
    });
    for (int64_t p = 0; p < count; ++p) {
      const T* plane = call.x + (first + p) * inner;
      const auto sum_again = [&](const A* factor, double* sum) {
        call.Run(slices, [&](int64_t i) {
          again[i] = 0;
          const int64_t begin = i * length, size = std::max<int64_t>(0, end_of(i) - begin);
          call.kernels.sum_planes_scaled(plane + begin, 1, size, factor, &again[i]);
        });
        *sum = std::accumulate(again.begin(), again.end(), 0.0);
      };
      const double* slice = &partial[p * slices];
      double sum = std::accumulate(slice, slice + slices, 0.0);
      double spare = 0;
      factor[p] = 1;
      ScalesOf(call, 0, (first + p) % channels, 1, &sum, &spare, &factor[p], &scale[p], sum_again);
    }
    const auto apply = [&](int64_t i) {
      const int64_t p = i / slices;
      const A* of_plane = factor[p] == 1 ? nullptr : &factor[p];
      Backwards(i % slices * length, end_of(i % slices), chunk, [&](int64_t begin, int64_t size) {
        ApplyPlanes(call, (first + p) * inner + begin, 1, size, group * inner,
                    (first + p) % channels, of_plane, &scale[p]);
      });
    };
    call.Run(count * slices, apply, TaskOrder::kBackwards);
  }
}

}  // namespace

template <class T>
void ComputePlanes(const FrnCall<T>& call) {
  const int64_t planes = call.shape.batch * call.shape.channels;
  const int64_t bytes = call.shape.plane() * static_cast<int64_t>(sizeof(T));
  const bool few = planes < kFewTasks && bytes > 2 * kTaskBytes;
  if (ArePlanesSmall(call.shape, call.kernels)) {
    SmallPlanes(call, bytes);
  } else if (call.shape.outer == 1 && (bytes > kOwnBytes || few)) {
    SharedPlanes(call, planes, bytes);
  } else {
    OwnPlanes(call, bytes);
  }
}

#define FRN_INSTANTIATE(T) template void ComputePlanes(const FrnCall<T>&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
