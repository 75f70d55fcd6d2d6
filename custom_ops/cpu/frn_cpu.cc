#include "cpu/frn_cpu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "cpu/element.h"
#include "cpu/split.h"

namespace frn {
namespace {

// Looks at all of them: without an early end the compiler makes vectors of it, and NaN is rare.
template <class A>
bool AnyNan(const A* values, int64_t count) {
  int found = 0;
  for (int64_t i = 0; i < count; ++i) found |= values[i] != values[i];
  return found != 0;
}

template <class T>
class FrnCall {
  using A = ComputeType<T>;

 public:
  FrnCall(const Kernels<T>& kernels, const FrnShape& shape, const T* x, T* y,
          const FrnParams<A>& params, Executor& executor)
      : kernels_(kernels), shape_(shape), x_(x), y_(y), gamma_(params.gamma), executor_(executor) {
    if (shape_.channels == 1) {  // every layout is one plane per sample
      shape_.inner *= shape_.outer;
      shape_.outer = 1;
    }
    const bool rows = shape_.inner == 1;
    fold_ = rows ? Fold() : 1;
    large_ = shape_.elements() * static_cast<int64_t>(sizeof(T)) >= kLargeBytes;
    shift_ = Repeat(params.beta, &shift_storage_);
    tau_ = Repeat(params.tau, &tau_storage_, -std::numeric_limits<A>::infinity());
    SettleNans();
    epsilon_ = params.epsilon;
    if (epsilon_ == nullptr) {
      epsilon_storage_.assign(shape_.channels, params.epsilon_scalar);
      epsilon_ = epsilon_storage_.data();
    }
  }

  void Compute() {
    if (shape_.inner == 1) {
      ComputeRows();
    } else {
      ComputePlanes();
    }
  }

 private:
  // How many pixels make one row: if possible so many that its columns fill whole vectors. Channels
  // that do so by themselves are left alone: rows of few vectors are summed in registers.
  int64_t Fold() const {
    const int64_t narrow = kernels_.narrow_columns, channels = shape_.channels;
    if (channels % narrow == 0) return 1;
    if (narrow % channels == 0) return std::min(narrow / channels, shape_.outer);
    const int64_t lanes = narrow / 4;
    const int64_t step = lanes / std::gcd(lanes, channels);
    const int64_t most = std::clamp(kFoldedColumns / channels, int64_t{1}, shape_.outer);
    return most >= step ? most / step * step : most;
  }

  // `values`, or `absent` for every channel, `fold_` times over.
  const A* Repeat(const A* values, std::vector<A>* storage, A absent = 0) const {
    if (values != nullptr && fold_ == 1) return values;
    storage->reserve(fold_ * shape_.channels);
    for (int64_t f = 0; f < fold_; ++f) {
      if (values == nullptr) {
        storage->insert(storage->end(), shape_.channels, absent);
      } else {
        storage->insert(storage->end(), values, values + shape_.channels);
      }
    }
    return storage->data();
  }

  // Makes NaN in the parameters what the kernels expect (kernels.h). tau's must go into shift: the
  // vector units' max(v, tau) is v where tau is NaN.
  void SettleNans() {
    const A nan = std::numeric_limits<A>::quiet_NaN();
    const auto is_nan = [](A value) { return std::isnan(value); };
    const int64_t count = fold_ * shape_.channels;
    if (AnyNan(tau_, count) || AnyNan(shift_, count)) {
      if (shift_storage_.empty()) shift_storage_.assign(shift_, shift_ + count);
      for (int64_t i = 0; i < count; ++i) {
        if (is_nan(tau_[i]) || is_nan(shift_storage_[i])) shift_storage_[i] = nan;
      }
      shift_ = shift_storage_.data();
    }
    if (AnyNan(gamma_, shape_.channels)) {
      gamma_storage_.assign(gamma_, gamma_ + shape_.channels);
      std::replace_if(gamma_storage_.begin(), gamma_storage_.end(), is_nan, nan);
      gamma_ = gamma_storage_.data();
    }
  }

  template <class F>
  void Run(int64_t count, F&& task) {
    auto fenced = [&](int64_t i) {
      task(i);
      if (large_) kernels_.fence();
    };
    if (count == 1) {
      fenced(0);
    } else {
      executor_.Run(
          count, [](void* self, int64_t i) { (*static_cast<decltype(fenced)*>(self))(i); },
          &fenced);
    }
  }

  // `count` units of `bytes` each, several to a task where they are small.
  template <class F>
  void RunUnits(int64_t count, int64_t bytes, F&& unit) {
    const int64_t per_task = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, bytes));
    Run(CeilDiv(count, per_task), [&](int64_t task) {
      const int64_t end = std::min(count, (task + 1) * per_task);
      for (int64_t u = task * per_task; u < end; ++u) unit(u);
    });
  }

  // The sum of squares of one plane, each square taken in double.
  double ExactSum(int64_t n, int64_t c) const;

  // scale[i] for channels c .. c + count of sample n, whose sums are given.
  void Scales(int64_t n, int64_t c, int64_t count, double* sums, A* scale) const {
    const double inverse_size = 1.0 / static_cast<double>(shape_.plane());
    if (kernels_.scales(sums, count, inverse_size, gamma_ + c, epsilon_ + c, scale)) return;
    for (int64_t i = 0; i < count; ++i) {
      const double epsilon = static_cast<double>(epsilon_[c + i]);
      double radicand = sums[i] * inverse_size + epsilon;
      if (radicand >= kTrustedMin && radicand <= kTrustedMax) continue;
      radicand = ExactSum(n, c + i) * inverse_size + epsilon;
      scale[i] = static_cast<A>(static_cast<double>(gamma_[c + i]) / std::sqrt(radicand));
    }
  }

  // ---- planes: inner > 1 ----

  void ComputePlanes() {
    const int64_t planes = shape_.batch * shape_.channels;
    const int64_t bytes = shape_.plane() * static_cast<int64_t>(sizeof(T));
    const bool few = planes < 4 * HardwareThreads() && bytes > 2 * kTaskBytes;
    if (shape_.outer == 1 && (bytes > kOwnBytes || few)) {
      SharedPlanes(planes, bytes);
    } else {
      OwnPlanes(bytes);
    }
  }

  void OwnPlanes(int64_t bytes) {
    const int64_t channels = shape_.channels, inner = shape_.inner;
    const int64_t batch =
        std::clamp<int64_t>(kBatchBytes / bytes, 1, std::min(channels, kMaxBatch));
    const int64_t batches = CeilDiv(channels, batch);
    RunUnits(shape_.batch * batches, batch * bytes, [&](int64_t unit) {
      const int64_t n = unit / batches, c = unit % batches * batch;
      const int64_t count = std::min(batch, channels - c);
      double sums[kMaxBatch] = {};
      A scale[kMaxBatch];
      for (int64_t o = 0; o < shape_.outer; ++o) {
        kernels_.sum_planes(x_ + Offset(n, o, c), count, inner, sums);
      }
      Scales(n, c, count, sums, scale);
      const int64_t chunk = count == 1 ? kChunkBytes / static_cast<int64_t>(sizeof(T)) : inner;
      for (int64_t o = 0; o < shape_.outer; ++o) {
        Backwards(0, inner, chunk, [&](int64_t begin, int64_t size) {
          const int64_t at = Offset(n, o, c) + begin;
          kernels_.apply_planes(x_ + at, y_ + at, count, size, count * inner, scale, shift_ + c,
                                tau_ + c, large_);
        });
      }
    });
  }

  void SharedPlanes(int64_t planes, int64_t bytes) {
    const int64_t inner = shape_.inner, channels = shape_.channels;
    const int64_t group = GroupSize(planes, bytes);
    const int64_t slices = SliceCount(group, bytes);
    const int64_t length = CeilDiv(inner, slices);
    const int64_t chunk = kChunkBytes / sizeof(T);
    std::vector<double> partial(group * slices);
    std::vector<A> scale(group);
    for (int64_t first = 0; first < planes; first += group) {
      const int64_t count = std::min(group, planes - first);
      Run(count * slices, [&](int64_t i) {
        const int64_t at = i % slices * length, end = std::min(inner, at + length);
        const T* plane = x_ + (first + i / slices) * inner;
        partial[i] = 0;
        for (int64_t run = at; run < end; run += kRunElements) {
          kernels_.sum_planes(plane + run, 1, std::min(kRunElements, end - run), &partial[i]);
        }
      });
      for (int64_t p = 0; p < count; ++p) {
        double sum = 0;
        for (int64_t s = 0; s < slices; ++s) sum += partial[p * slices + s];
        const int64_t plane = first + p;
        Scales(plane / channels, plane % channels, 1, &sum, &scale[p]);
      }
      Run(count * slices, [&](int64_t i) {
        const int64_t at = i % slices * length, p = i / slices;
        const int64_t end = std::min(inner, at + length), c = (first + p) % channels;
        Backwards(at, end, chunk, [&](int64_t begin, int64_t size) {
          const int64_t offset = (first + p) * inner + begin;
          kernels_.apply_planes(x_ + offset, y_ + offset, 1, size, group * inner, &scale[p],
                                shift_ + c, tau_ + c, large_);
        });
      });
    }
  }

  int64_t Offset(int64_t n, int64_t o, int64_t c) const {
    return ((n * shape_.outer + o) * shape_.channels + c) * shape_.inner;
  }

  // ---- rows: inner == 1 ----

  void ComputeRows() {
    const int64_t size = sizeof(T), channels = shape_.channels, batch = shape_.batch;
    const int64_t columns = fold_ * channels;
    const int64_t sample_bytes = shape_.outer * channels * size;
    if (shape_.plane() == 1) {
      Singles();
      return;
    }
    // Strips of channels are for samples that fit in cache and are fewer than the threads: what a
    // strip leaves out of each row is a hole in the cache sets it can use.
    int64_t strips = CeilDiv(columns, kMaxColumns);
    if (fold_ == 1) {
      const int64_t wanted = CeilDiv(2 * HardwareThreads(), batch);
      const int64_t narrowest = std::max<int64_t>(1, channels * size / kStripBytes);
      const int64_t worth = std::max<int64_t>(1, sample_bytes / (kTaskBytes / 2));
      strips = std::max(strips, std::min({wanted, narrowest, worth}));
    }
    const bool few = batch * strips < HardwareThreads() && sample_bytes > 2 * kTaskBytes;
    if (sample_bytes > kOwnBytes || few) {
      SharedRows(columns, sample_bytes);
    } else {
      const int64_t lanes = 64 / size;  // strips begin where cache lines do, if x does
      OwnRows(columns, std::min(columns, CeilDiv(CeilDiv(columns, strips), lanes) * lanes),
              sample_bytes);
    }
  }

  void Singles() {
    const int64_t columns = shape_.channels, bytes = columns * sizeof(T);
    const int64_t rows = std::max<int64_t>(1, kTaskBytes / bytes);
    Run(CeilDiv(shape_.batch, rows), [&](int64_t task) {
      const int64_t n = task * rows, at = n * columns;
      kernels_.apply_single(x_ + at, y_ + at, std::min(rows, shape_.batch - n), columns, gamma_,
                            shift_, tau_, epsilon_);
    });
  }

  // Rows of a sample after folding, and the elements left over, which are less than a row.
  int64_t FoldedRows() const { return shape_.outer / fold_; }
  int64_t Leftover() const { return shape_.outer % fold_ * shape_.channels; }

  static int64_t ChunkRows(int64_t columns) {
    return std::max<int64_t>(2, kChunkBytes / (columns * static_cast<int64_t>(sizeof(T))));
  }

  void OwnRows(int64_t columns, int64_t width, int64_t sample_bytes) {
    const int64_t strips = CeilDiv(columns, width), rows = FoldedRows(), rest = Leftover();
    RunUnits(shape_.batch * strips, sample_bytes / strips, [&](int64_t unit) {
      const int64_t n = unit / strips, c = unit % strips * width;
      const int64_t count = std::min(width, columns - c);
      const int64_t at = n * shape_.outer * shape_.channels + c;
      double sums[kMaxColumns] = {};
      A scale[kMaxColumns];
      SumRows(x_ + at, rows, count, columns, sums);
      kernels_.sum_rows(x_ + at + rows * columns, rest > 0, rest, columns, sums, large_);
      FoldedScales(n, c, count, sums, scale);
      const int64_t end = at + rows * columns;
      kernels_.apply_rows(x_ + end, y_ + end, rest > 0, rest, columns, 0, scale, shift_ + c,
                          tau_ + c, large_);
      Backwards(0, rows, ChunkRows(columns), [&](int64_t begin, int64_t size) {
        const int64_t from = at + begin * columns;
        kernels_.apply_rows(x_ + from, y_ + from, size, count, columns,
                            shape_.outer * shape_.channels, scale, shift_ + c, tau_ + c, large_);
      });
    });
  }

  void SharedRows(int64_t columns, int64_t sample_bytes) {
    const int64_t rows = FoldedRows(), rest = Leftover(), batch = shape_.batch;
    const int64_t group = GroupSize(batch, sample_bytes);
    const int64_t length = CeilDiv(rows, SliceCount(group, sample_bytes));
    const int64_t slices = CeilDiv(rows, length);
    const int64_t chunk = ChunkRows(columns);
    std::vector<double> partial(group * slices * columns);
    std::vector<A> scale(group * columns);
    const auto at = [&](int64_t n, int64_t row) {
      return n * shape_.outer * shape_.channels + row * columns;
    };
    for (int64_t first = 0; first < batch; first += group) {
      const int64_t count = std::min(group, batch - first);
      Run(count * slices, [&](int64_t i) {
        const int64_t n = first + i / slices, row = i % slices * length;
        double* sums = &partial[i * columns];
        std::fill_n(sums, columns, 0.0);
        for (int64_t c = 0; c < columns; c += kMaxColumns) {
          SumRows(x_ + at(n, row) + c, std::min(length, rows - row),
                  std::min(kMaxColumns, columns - c), columns, sums + c);
        }
        if (row + length >= rows) {
          kernels_.sum_rows(x_ + at(n, rows), rest > 0, rest, columns, sums, large_);
        }
      });
      for (int64_t g = 0; g < count; ++g) {
        double* sums = &partial[g * slices * columns];
        for (int64_t s = 1; s < slices; ++s) {
          for (int64_t c = 0; c < columns; ++c) sums[c] += sums[s * columns + c];
        }
        FoldedScales(first + g, 0, columns, sums, &scale[g * columns]);
      }
      Run(count * slices, [&](int64_t i) {
        const int64_t n = first + i / slices, row = i % slices * length;
        const A* scales = &scale[i / slices * columns];
        if (row + length >= rows) {
          kernels_.apply_rows(x_ + at(n, rows), y_ + at(n, rows), rest > 0, rest, columns, 0,
                              scales, shift_, tau_, large_);
        }
        Backwards(row, std::min(rows, row + length), chunk, [&](int64_t begin, int64_t size) {
          kernels_.apply_rows(x_ + at(n, begin), y_ + at(n, begin), size, columns, columns,
                              group * shape_.outer * shape_.channels, scales, shift_, tau_, large_);
        });
      });
    }
  }

  // Adds to sums; chains of additions are kept short by summing runs of rows on their own.
  void SumRows(const T* x, int64_t rows, int64_t columns, int64_t stride, double* sums) const {
    if (rows <= kRunRows) {
      kernels_.sum_rows(x, rows, columns, stride, sums, large_);
      return;
    }
    double run[kMaxColumns];
    for (int64_t row = 0; row < rows; row += kRunRows) {
      std::fill_n(run, columns, 0.0);
      kernels_.sum_rows(x + row * stride, std::min(kRunRows, rows - row), columns, stride, run,
                        large_);
      for (int64_t c = 0; c < columns; ++c) sums[c] += run[c];
    }
  }

  // Scales of `columns` columns from c on: the sums of a channel's columns are added first.
  void FoldedScales(int64_t n, int64_t c, int64_t columns, double* sums, A* scale) const {
    if (fold_ == 1) {
      Scales(n, c, columns, sums, scale);
      return;
    }
    const int64_t channels = shape_.channels;
    for (int64_t i = channels; i < columns; ++i) sums[i % channels] += sums[i];
    Scales(n, 0, channels, sums, scale);
    for (int64_t i = channels; i < columns; ++i) scale[i] = scale[i - channels];
  }

  const Kernels<T>& kernels_;
  FrnShape shape_;
  const T* x_;
  T* y_;
  int64_t fold_;
  bool large_;
  const A* gamma_;
  const A* shift_;    // fold_ * channels values, as tau_
  const A* tau_;      // -inf: no threshold
  const A* epsilon_;  // channels values, as gamma_
  std::vector<A> gamma_storage_, shift_storage_, tau_storage_, epsilon_storage_;
  Executor& executor_;
};

template <class T>
double FrnCall<T>::ExactSum(int64_t n, int64_t c) const {
  double sum = 0;
  for (int64_t o = 0; o < shape_.outer; ++o) {
    const T* x = x_ + Offset(n, o, c);
    for (int64_t i = 0; i < shape_.inner; ++i) {
      const double value = ToDouble(x[i]);
      sum += value * value;
    }
  }
  return sum;
}

}  // namespace

template <class T>
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& shape, const T* x, T* y,
                const FrnParams<ComputeType<T>>& params, Executor& executor) {
  if (shape.elements() == 0) return;
  FrnCall<T>(kernels, shape, x, y, params, executor).Compute();
}

template void ComputeFrn(const Kernels<float>&, const FrnShape&, const float*, float*,
                         const FrnParams<float>&, Executor&);
template void ComputeFrn(const Kernels<double>&, const FrnShape&, const double*, double*,
                         const FrnParams<double>&, Executor&);
template void ComputeFrn(const Kernels<F16>&, const FrnShape&, const F16*, F16*,
                         const FrnParams<float>&, Executor&);
template void ComputeFrn(const Kernels<BF16>&, const FrnShape&, const BF16*, BF16*,
                         const FrnParams<float>&, Executor&);

}  // namespace frn
