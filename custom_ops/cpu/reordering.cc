// FRN that reads planes and writes blocks, or the reverse: the squares are summed as they lie, and
// a tile at a time is transposed into a buffer, from which it is normalised as it will lie.

#include <algorithm>

#include "cpu/units.h"

namespace frn {
namespace {

class Reordering : public UnitCut {
 public:
  Reordering(const KernelTable& table, Reorder reorder, const BlockedShape& shape,
             const FrnCall<float>& call)
      : UnitCut(table, shape, call), to_blocked_(reorder == Reorder::kToBlocked) {}

  void Sum(int64_t unit, int64_t begin, int64_t end, const float* factor, double* sums) const {
    const int64_t pixels = shape_.pixels, count = end - begin;
    if (!to_blocked_) {
      SumPixels(call_.x + At(unit, begin), count, factor, sums);
      return;
    }
    const auto sum_planes = [&](int64_t c, int64_t planes) {
      const float* x = call_.x + InPlanes(unit) + c * pixels + begin;
      if (factor != nullptr) {
        call_.kernels.sum_planes_scaled(x, planes, count, factor + c, sums + c);
      } else {
        call_.kernels.sum_planes(x, planes, count, sums + c);
      }
    };
    if (count == pixels) {
      sum_planes(0, Channels(unit));
    } else {
      for (int64_t c = 0; c < Channels(unit); ++c) sum_planes(c, 1);
    }
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
  int64_t FirstChannel(int64_t unit) const { return unit % shape_.blocks() * shape_.block; }
  int64_t Channels(int64_t unit) const {
    return std::min(shape_.block, shape_.channels - FirstChannel(unit));
  }
  // Where a unit begins among planes.
  int64_t InPlanes(int64_t unit) const {
    return (unit / shape_.blocks() * shape_.channels + FirstChannel(unit)) * shape_.pixels;
  }

  void ToBlocked(int64_t unit, int64_t begin, int64_t count, const UnitScales& scales) const {
    const int64_t block = shape_.block;
    alignas(64) float tile[kTile * kMaxBlock];
    if (Channels(unit) < block) std::fill_n(tile, count * block, 0.0f);
    table_.transpose(call_.x + InPlanes(unit) + begin, Channels(unit), count, shape_.pixels, tile,
                     block);
    ApplyPixels(unit, tile, At(unit, begin), count, scales);
  }

  void FromBlocked(int64_t unit, int64_t begin, int64_t count, const UnitScales& scales) const {
    const int64_t block = shape_.block;
    alignas(64) float tile[kTile * kMaxBlock];
    table_.transpose(call_.x + At(unit, begin), count, block, block, tile, kTile);
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

  const bool to_blocked_;
};

}  // namespace

void ComputeReordering(const KernelTable& table, Reorder reorder, const BlockedShape& shape,
                       const float* x, const float* residual, float* y,
                       const Parameters<float>& params, Executor& executor) {
  const FrnShape units{shape.units(), shape.pixels, shape.block, 1};
  if (units.elements() == 0) return;
  const FrnCall<float> call{KernelsOf(table, float{}), units, x, residual, y, params, executor,
                            IsLarge(units, y)};
  ComputeUnits(Reordering(table, reorder, shape, call), shape, call);
}

}  // namespace frn
