#include "cpu/rows.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "cpu/scales.h"

namespace frn {
namespace {

// So many pixels, and their multiples, fill whole vectors.
int64_t PixelsForWholeVectors(int64_t narrow_columns, int64_t channels) {
  const int64_t lanes = narrow_columns / 4;
  return lanes / std::gcd(lanes, channels);
}

// How many of `pixels` pixels make one row: as many as fill a few vectors, and more where that
// still leaves kFoldedRows rows, as every column costs something by itself.
int64_t PixelsPerRow(int64_t narrow_columns, int64_t channels, int64_t pixels) {
  const int64_t most = MostPixelsPerRow(narrow_columns, channels);
  const int64_t step = PixelsForWholeVectors(narrow_columns, channels);
  const int64_t least = std::min(std::max(step, narrow_columns / channels), pixels);
  const int64_t wanted = std::max(least, pixels / kFoldedRows);
  if (most <= wanted) return most;
  return wanted >= step ? wanted / step * step : wanted;
}

// A sample cut into rows of `columns` columns, which are one pixel or several folded into one. What
// is left over at the end of a sample is less than a row.
template <class T>
struct Rows {
  using A = ComputeType<T>;

  explicit Rows(const FrnCall<T>& call)
      : call(call),
        fold(PixelsPerRow(call.kernels.narrow_columns, call.shape.channels, call.shape.outer)),
        columns(fold * call.shape.channels),
        rows(call.shape.outer / fold),
        leftover(call.shape.outer % fold * call.shape.channels),
        sample(call.shape.outer * call.shape.channels),
        chunk(std::max<int64_t>(2, kChunkBytes / (columns * static_cast<int64_t>(sizeof(T))))) {}

  // Adds the squares of `count` rows of `width` columns to sums, of x times a factor per column
  // where that is given; chains of additions are kept short by summing runs of rows on their own.
  void Sum(int64_t at, int64_t count, int64_t width, const A* factor, double* sums) const {
    const T* x = call.x + at;
    if (factor != nullptr) {
      call.kernels.sum_rows_scaled(x, count, width, columns, factor, sums);
      return;
    }
    if (count <= kRunRows) {
      call.kernels.sum_rows(x, count, width, columns, sums, call.large);
      return;
    }
    double run[kMaxColumns];
    for (int64_t row = 0; row < count; row += kRunRows) {
      std::fill_n(run, width, 0.0);
      call.kernels.sum_rows(x + row * columns, std::min(kRunRows, count - row), width, columns, run,
                            call.large);
      for (int64_t c = 0; c < width; ++c) sums[c] += run[c];
    }
  }

  void SumLeftover(int64_t at, const A* factor, double* sums) const {
    if (leftover > 0) Sum(at, 1, leftover, factor, sums);
  }

  // Where rows are folded, `width` columns are of several pixels. Adds up what belongs to a
  // channel, and repeats it for each of them.
  void AddUp(int64_t width, double* sums) const {
    const int64_t channels = ChannelsOf(width);
    for (int64_t pixels = width / channels; pixels > 1; pixels = CeilDiv(pixels, 2)) {
      const double* const half = sums + CeilDiv(pixels, 2) * channels;
      for (int64_t i = 0; i < pixels / 2 * channels; ++i) sums[i] += half[i];
    }
  }
  void Repeat(int64_t width, A* values) const {
    for (int64_t done = ChannelsOf(width); done < width; done *= 2) {
      std::copy_n(values, std::min(done, width - done), values + done);
    }
  }

  int64_t ChannelsOf(int64_t width) const { return fold == 1 ? width : call.shape.channels; }

  // Rows begin .. end of sample n, from column c on; its first element there is `at`. ahead: as
  // kernels.h has it. factor: nullptr where there is none.
  void Apply(int64_t n, int64_t at, int64_t begin, int64_t end, int64_t c, int64_t width,
             int64_t ahead, const A* factor, const A* scale) const {
    Backwards(begin, end, chunk, [&](int64_t row, int64_t count) {
      ApplyOnce(n, at + row * columns, count, c, width, ahead, factor, scale);
    });
  }

  void ApplyLeftover(int64_t n, int64_t at, const A* factor, const A* scale) const {
    if (leftover > 0) ApplyOnce(n, at, 1, 0, leftover, 0, factor, scale);
  }

  const FrnCall<T>& call;
  const int64_t fold;
  const int64_t columns;
  const int64_t rows;
  const int64_t leftover;  // elements
  const int64_t sample;    // elements
  const int64_t chunk;     // rows that are normalised at once

 private:
  void ApplyOnce(int64_t n, int64_t at, int64_t count, int64_t c, int64_t width, int64_t ahead,
                 const A* factor, const A* scale) const {
    const T *x = call.x + at, *residual = call.ResidualAt(at);
    T* y = call.y + at;
    const A* shift = call.params.shift(n) + c;
    const A* tau = call.params.tau(n) + c;
    if (factor == nullptr) {
      call.kernels.apply_rows(x, residual, y, count, width, columns, ahead, scale, shift, tau,
                              call.large);
    } else {
      call.kernels.apply_rows_scaled(x, residual, y, count, width, columns, factor, scale, shift,
                                     tau);
    }
  }
};

// A task takes a strip of `width` columns of one sample.
template <class T>
void OwnRows(const Rows<T>& cut, int64_t width) {
  using A = ComputeType<T>;
  const FrnCall<T>& call = cut.call;
  const int64_t strips = CeilDiv(cut.columns, width);
  const int64_t bytes = cut.sample * static_cast<int64_t>(sizeof(T)) / strips;
  call.RunUnits(call.shape.batch * strips, bytes, [&](int64_t unit) {
    const int64_t n = unit / strips, c = unit % strips * width;
    const int64_t count = std::min(width, cut.columns - c);
    const int64_t at = n * cut.sample + c, end = at + cut.rows * cut.columns;
    double sums[kMaxColumns], spare[kMaxColumns];
    A factor[kMaxColumns], scale[kMaxColumns];
    const auto sum = [&](A* factor, double* sums) {
      if (factor != nullptr) cut.Repeat(count, factor);
      std::fill_n(sums, count, 0.0);
      cut.Sum(at, cut.rows, count, factor, sums);
      cut.SumLeftover(end, factor, sums);
      cut.AddUp(count, sums);
    };
    const bool factored =
        SumAndScale(call, n, c, cut.ChannelsOf(count), sums, spare, factor, scale, sum);
    cut.Repeat(count, scale);
    if (factored) cut.Repeat(count, factor);
    const A* factors = factored ? factor : nullptr;
    cut.ApplyLeftover(n, end, factors, scale);
    cut.Apply(n, at, 0, cut.rows, c, count, cut.sample, factors, scale);
  });
}

// All threads take slices of a group of samples, first to sum, then to normalise.
template <class T>
void SharedRows(const Rows<T>& cut, int64_t sample_bytes) {
  using A = ComputeType<T>;
  const FrnCall<T>& call = cut.call;
  const int64_t rows = cut.rows, columns = cut.columns, batch = call.shape.batch;
  const int64_t group = GroupSize(call.executor.threads(), batch, sample_bytes);
  const int64_t length = CeilDiv(rows, SliceCount(sample_bytes));
  const int64_t slices = CeilDiv(rows, length);
  std::vector<double> partial(group * slices * columns), again, spare(columns);
  std::vector<A> factor(group * columns), scale(group * columns);
  std::vector<char> factored(group);

  // The sums of one slice of the sample that begins at `at`.
  const auto sum_slice = [&](int64_t at, int64_t slice, const A* factor, double* sums) {
    const int64_t row = slice * length, count = std::min(length, rows - row);
    std::fill_n(sums, columns, 0.0);
    for (int64_t c = 0; c < columns; c += kMaxColumns) {
      cut.Sum(at + row * columns + c, count, std::min(kMaxColumns, columns - c),
              factor == nullptr ? nullptr : factor + c, sums + c);
    }
    if (row + length >= rows) cut.SumLeftover(at + rows * columns, factor, sums);
  };
  // Into those of the first.
  const auto add_slices = [&](double* sums) {
    for (int64_t i = columns; i < slices * columns; ++i) sums[i % columns] += sums[i];
    cut.AddUp(columns, sums);
  };

  for (int64_t first = 0; first < batch; first += group) {
    const int64_t count = std::min(group, batch - first);
    call.Run(count * slices, [&](int64_t i) {
      sum_slice((first + i / slices) * cut.sample, i % slices, nullptr, &partial[i * columns]);
    });
    for (int64_t g = 0; g < count; ++g) {
      const auto sum_again = [&](A* factor, double* sums) {
        cut.Repeat(columns, factor);
        again.resize(slices * columns);
        call.Run(slices, [&](int64_t i) {
          sum_slice((first + g) * cut.sample, i, factor, &again[i * columns]);
        });
        add_slices(again.data());
        std::copy_n(again.data(), cut.ChannelsOf(columns), sums);
      };
      double* sums = &partial[g * slices * columns];
      A *factors = &factor[g * columns], *scales = &scale[g * columns];
      add_slices(sums);
      factored[g] = ScalesOf(call, first + g, 0, cut.ChannelsOf(columns), sums, spare.data(),
                             factors, scales, sum_again);
      cut.Repeat(columns, scales);
      if (factored[g]) cut.Repeat(columns, factors);
    }
    const auto apply = [&](int64_t i) {
      const int64_t g = i / slices, row = i % slices * length;
      const int64_t at = (first + g) * cut.sample;
      const A* factors = factored[g] ? &factor[g * columns] : nullptr;
      const A* scales = &scale[g * columns];
      if (row + length >= rows) cut.ApplyLeftover(first + g, at + rows * columns, factors, scales);
      cut.Apply(first + g, at, row, std::min(rows, row + length), 0, columns, group * cut.sample,
                factors, scales);
    };
    call.Run(count * slices, apply, TaskOrder::kBackwards);
  }
}

}  // namespace

// Channels that fill vectors by themselves are left alone: rows of few vectors are summed in
// registers.
int64_t MostPixelsPerRow(int64_t narrow_columns, int64_t channels) {
  if (channels <= 1 || channels % narrow_columns == 0) return 1;
  if (narrow_columns % channels == 0) return narrow_columns / channels;
  const int64_t step = PixelsForWholeVectors(narrow_columns, channels);
  const int64_t most = std::max<int64_t>(1, kFoldedColumns / channels);
  return most >= step ? most / step * step : most;
}

template <class T>
void ComputeRows(const FrnCall<T>& call) {
  const int64_t size = sizeof(T), batch = call.shape.batch;
  const Rows<T> cut(call);
  const int64_t sample_bytes = cut.sample * size;
  // Strips of channels are for samples that fit in cache and are fewer than the threads: what a
  // strip leaves out of each row is a hole in the cache sets it can use.
  const int64_t fewest = CeilDiv(cut.columns, kMaxColumns);
  int64_t most = fewest;
  if (cut.fold == 1) {
    const int64_t narrowest = std::max<int64_t>(1, call.shape.channels * size / kStripBytes);
    const int64_t worth = std::max<int64_t>(1, sample_bytes / (kTaskBytes / 2));
    most = std::max(fewest, std::min(narrowest, worth));
  }
  const bool few = batch * most < kFewestStrips && sample_bytes > 2 * kTaskBytes;
  if (sample_bytes > kOwnBytes || few) {
    SharedRows(cut, sample_bytes);
  } else {
    int64_t strips = fewest;
    if (most > fewest) {  // only then: to know the threads costs a system call
      const int64_t wanted = std::max(kFewestStrips, 2 * call.executor.threads());
      strips = std::clamp(CeilDiv(wanted, batch), fewest, most);
    }
    const int64_t lanes = 64 / size;  // strips begin where cache lines do, if x does
    OwnRows(cut, std::min(cut.columns, CeilDiv(CeilDiv(cut.columns, strips), lanes) * lanes));
  }
}

#define FRN_INSTANTIATE(T) template void ComputeRows(const FrnCall<T>&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
