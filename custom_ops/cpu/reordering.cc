// FRN that reads planes and writes blocks, or the reverse: the squares are summed as they lie, and
// a tile at a time is transposed into a buffer, from which it is normalised as it will lie.

#include <algorithm>
#include <vector>

#include "cpu/blocked.h"
#include "cpu/frn_call.h"
#include "cpu/scales.h"

namespace frn {
namespace {

constexpr int64_t kTile = 128;  // pixels that are transposed at once
constexpr int64_t kMaxBlock = 16;
constexpr int64_t kMostRepeated = 64;  // columns of a row of several pixels

// What belongs to the channels of a unit.
struct UnitScales {
  float scale[kMostRepeated], factor[kMostRepeated];
  bool factored = false;
};

class Reordering {
 public:
  Reordering(const KernelTable& table, Reorder reorder, const BlockedShape& shape,
             const FrnCall<float>& call)
      : table_(table), shape_(shape), call_(call), to_blocked_(reorder == Reorder::kToBlocked) {}

  // Adds the squares of pixels begin .. end of a unit to sums, one of each channel.
  void Sum(int64_t unit, int64_t begin, int64_t end, double* sums) const {
    SumBy(
        unit, begin, end, sums,
        [&](const float* x, int64_t planes, int64_t n, double* sums) {
          call_.kernels.sum_planes(x, planes, n, sums);
        },
        [&](const float* x, int64_t rows, int64_t cols, double* sums) {
          call_.kernels.sum_rows(x, rows, cols, cols, sums, call_.large);
        });
  }

  // From the sums of a whole unit; sum_again(factor, sums) adds up what SumScaled gives.
  template <class SumAgain>
  void SetScales(int64_t unit, double* sums, UnitScales* scales, SumAgain&& sum_again) const {
    double spare[kMaxBlock];
    scales->factored = ScalesOf(call_, unit, 0, shape_.block, sums, spare, scales->factor,
                                scales->scale, [&](const float*, double* again) {
                                  Repeat(scales->factor);
                                  std::fill_n(again, shape_.block, 0.0);
                                  sum_again(scales->factor, again);
                                });
    Repeat(scales->scale);
    if (scales->factored) Repeat(scales->factor);
  }

  void SumScaled(int64_t unit, int64_t begin, int64_t end, const float* factor,
                 double* sums) const {
    SumBy(
        unit, begin, end, sums,
        [&](const float* x, int64_t planes, int64_t n, double* to) {
          call_.kernels.sum_planes_scaled(x, planes, n, factor + (to - sums), to);
        },
        [&](const float* x, int64_t rows, int64_t cols, double* to) {
          call_.kernels.sum_rows_scaled(x, rows, cols, cols, factor, to);
        });
  }

  void Apply(int64_t unit, int64_t begin, int64_t end, const UnitScales& scales) const {
    for (int64_t at = begin; at < end; at += kTile) {
      const int64_t count = std::min(kTile, end - at);
      if (to_blocked_) {
        ToBlocked(unit, at, count, scales);
      } else {
        FromBlocked(unit, at, count, scales);
      }
    }
  }

 private:
  int64_t Repeats() const { return call_.kernels.narrow_columns / shape_.block; }
  void Repeat(float* values) const {
    for (int64_t i = shape_.block; i < Repeats() * shape_.block; ++i) {
      values[i] = values[i - shape_.block];
    }
  }

  int64_t FirstChannel(int64_t unit) const { return unit % shape_.blocks() * shape_.block; }
  int64_t Channels(int64_t unit) const {
    return std::min(shape_.block, shape_.channels - FirstChannel(unit));
  }
  // Where a unit begins among blocks, and among planes.
  int64_t InBlocks(int64_t unit) const { return unit * shape_.pixels * shape_.block; }
  int64_t InPlanes(int64_t unit) const {
    return (unit / shape_.blocks() * shape_.channels + FirstChannel(unit)) * shape_.pixels;
  }

  template <class SumPlanes, class SumRows>
  void SumBy(int64_t unit, int64_t begin, int64_t end, double* sums, SumPlanes&& sum_planes,
             SumRows&& sum_rows) const {
    const int64_t pixels = shape_.pixels, block = shape_.block, count = end - begin;
    if (to_blocked_) {
      const float* x = call_.x + InPlanes(unit) + begin;
      if (count == pixels) {
        sum_planes(x, Channels(unit), pixels, sums);
        return;
      }
      for (int64_t c = 0; c < Channels(unit); ++c) sum_planes(x + c * pixels, 1, count, sums + c);
      return;
    }
    // Several pixels as one row, whose sums stay in registers.
    const float* x = call_.x + InBlocks(unit) + begin * block;
    const int64_t columns = Repeats() * block, rows = count / Repeats();
    double wide[kMostRepeated] = {};
    if (rows > 0) sum_rows(x, rows, columns, wide);
    for (int64_t i = 0; i < columns; ++i) sums[i % block] += wide[i];
    const int64_t rest = count % Repeats();
    if (rest > 0) sum_rows(x + rows * columns, rest, block, sums);
  }

  void ToBlocked(int64_t unit, int64_t begin, int64_t count, const UnitScales& scales) const {
    const int64_t block = shape_.block, columns = Repeats() * block;
    alignas(64) float tile[kTile * kMaxBlock];
    if (Channels(unit) < block) std::fill_n(tile, count * block, 0.0f);
    table_.transpose(call_.x + InPlanes(unit) + begin, Channels(unit), count, shape_.pixels, tile,
                     block);
    const int64_t at = InBlocks(unit) + begin * block;
    const auto apply = [&](int64_t from, int64_t rows, int64_t cols) {
      if (rows == 0) return;
      const float *x = tile + from, *residual = call_.ResidualAt(at + from);
      float* y = call_.y + at + from;
      const float *shift = call_.params.shift(unit), *tau = call_.params.tau(unit);
      if (scales.factored) {
        call_.kernels.apply_rows_scaled(x, residual, y, rows, cols, cols, scales.factor,
                                        scales.scale, shift, tau);
      } else {
        call_.kernels.apply_rows(x, residual, y, rows, cols, cols, 0, scales.scale, shift, tau,
                                 call_.large);
      }
    };
    const int64_t rows = count / Repeats();
    apply(0, rows, columns);
    apply(rows * columns, count % Repeats(), block);
  }

  void FromBlocked(int64_t unit, int64_t begin, int64_t count, const UnitScales& scales) const {
    const int64_t block = shape_.block;
    alignas(64) float tile[kTile * kMaxBlock];
    table_.transpose(call_.x + InBlocks(unit) + begin * block, count, block, block, tile, kTile);
    for (int64_t c = 0; c < Channels(unit); ++c) {
      const int64_t at = InPlanes(unit) + c * shape_.pixels + begin;
      const float *x = tile + c * kTile, *residual = call_.ResidualAt(at);
      const float *shift = call_.params.shift(unit) + c, *tau = call_.params.tau(unit) + c;
      if (scales.factored) {
        call_.kernels.apply_planes_scaled(x, residual, call_.y + at, 1, count, scales.factor + c,
                                          scales.scale + c, shift, tau);
      } else {
        call_.kernels.apply_planes(x, residual, call_.y + at, 1, count, 0, scales.scale + c, shift,
                                   tau, call_.large);
      }
    }
  }

  const KernelTable& table_;
  const BlockedShape& shape_;
  const FrnCall<float>& call_;
  const bool to_blocked_;
};

// A task takes whole units.
void OwnUnits(const Reordering& cut, const BlockedShape& shape, const FrnCall<float>& call,
              int64_t bytes) {
  const int64_t pixels = shape.pixels;
  call.RunUnits(shape.units(), bytes, [&](int64_t unit) {
    double sums[kMaxBlock] = {};
    UnitScales scales;
    cut.Sum(unit, 0, pixels, sums);
    cut.SetScales(unit, sums, &scales, [&](const float* factor, double* again) {
      cut.SumScaled(unit, 0, pixels, factor, again);
    });
    cut.Apply(unit, 0, pixels, scales);
  });
}

// All threads take slices of a group of units, first to sum, then to normalise.
void SharedUnits(const Reordering& cut, const BlockedShape& shape, const FrnCall<float>& call,
                 int64_t bytes) {
  const int64_t units = shape.units(), pixels = shape.pixels, block = shape.block;
  const int64_t group = GroupSize(call.executor.threads(), units, bytes);
  const int64_t length = CeilDiv(CeilDiv(pixels, SliceCount(bytes)), kTile) * kTile;
  const int64_t slices = CeilDiv(pixels, length);
  const auto end_of = [&](int64_t slice) { return std::min(pixels, (slice + 1) * length); };
  std::vector<double> partial(group * slices * block), again(slices * block);
  std::vector<UnitScales> scales(group);
  const auto add_slices = [&](const double* slice_sums, double* sums) {
    std::fill_n(sums, block, 0.0);
    for (int64_t i = 0; i < slices * block; ++i) sums[i % block] += slice_sums[i];
  };

  for (int64_t first = 0; first < units; first += group) {
    const int64_t count = std::min(group, units - first);
    call.Run(count * slices, [&](int64_t i) {
      double* sums = &partial[i * block];
      std::fill_n(sums, block, 0.0);
      cut.Sum(first + i / slices, i % slices * length, end_of(i % slices), sums);
    });
    for (int64_t g = 0; g < count; ++g) {
      double sums[kMaxBlock];
      add_slices(&partial[g * slices * block], sums);
      cut.SetScales(first + g, sums, &scales[g], [&](const float* factor, double* to) {
        call.Run(slices, [&](int64_t i) {
          std::fill_n(&again[i * block], block, 0.0);
          cut.SumScaled(first + g, i * length, end_of(i), factor, &again[i * block]);
        });
        add_slices(again.data(), to);
      });
    }
    call.Run(count * slices, [&](int64_t task) {
      const int64_t i = count * slices - 1 - task;  // what was summed last is still in cache
      cut.Apply(first + i / slices, i % slices * length, end_of(i % slices), scales[i / slices]);
    });
  }
}

}  // namespace

void ComputeReordering(const KernelTable& table, Reorder reorder, const BlockedShape& shape,
                       const float* x, const float* residual, float* y,
                       const Parameters<float>& params, Executor& executor) {
  const FrnShape units{shape.units(), shape.pixels, shape.block, 1};
  if (units.elements() == 0) return;
  const Kernels<float>& kernels = KernelsOf(table, float{});
  const FrnCall<float> call{kernels, units, x, residual, y, params, executor, IsLarge(units, y)};
  const Reordering cut(table, reorder, shape, call);
  const int64_t bytes = shape.pixels * shape.block * static_cast<int64_t>(sizeof(float));
  const bool few = shape.units() < kFewTasks && bytes > 2 * kTaskBytes;
  if (bytes > kOwnBytes || few) {
    SharedUnits(cut, shape, call, bytes);
  } else {
    OwnUnits(cut, shape, call, bytes);
  }
}

}  // namespace frn
