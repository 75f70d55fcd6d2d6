// FRN of four phases: pixel (2 * h + i, 2 * w + j) of what is normalised is pixel (h, w) of phase
// (i, j). The squares are summed as they lie, and a tile at a time is interleaved.

#include <algorithm>
#include <cstring>

#include "cpu/units.h"

namespace frn {
namespace {

class Interleaving : public UnitCut {
 public:
  Interleaving(const KernelTable& table, const BlockedShape& shape, int64_t width,
               const FrnPhases& phases, const FrnCall<float>& call)
      : UnitCut(table, shape, call), width_(width), phases_(phases) {}

  void Sum(int64_t unit, int64_t begin, int64_t end, const float* factor, double* sums) const {
    for (const float* phase : phases_) {
      SumPixels(phase + At(unit, begin), end - begin, factor, sums);
    }
  }

  void Apply(int64_t unit, int64_t begin, int64_t end, const UnitScales& scales) const {
    for (int64_t at = begin; at < end;) {
      const int64_t row = at / width_, column = at % width_;
      const int64_t count = std::min({end - at, width_ - column, kTile / 2});
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t pixel = 4 * unit * shape_.pixels + (2 * row + i) * 2 * width_ + 2 * column;
        alignas(64) float tile[kTile * kMaxBlock];
        Interleave(unit, i, at, count, tile);
        ApplyPixels(unit, tile, pixel * shape_.block, 2 * count, scales);
      }
      at += count;
    }
  }

 private:
  void Interleave(int64_t unit, int64_t i, int64_t at, int64_t count, float* tile) const {
    const float *even = phases_[2 * i] + At(unit, at), *odd = phases_[2 * i + 1] + At(unit, at);
    if (shape_.block == 8) {
      Interleave<8>(even, odd, count, tile);
    } else {
      Interleave<16>(even, odd, count, tile);
    }
  }

  template <int kBlock>
  static void Interleave(const float* even, const float* odd, int64_t count, float* tile) {
    for (int64_t w = 0; w < count; ++w, even += kBlock, odd += kBlock, tile += 2 * kBlock) {
      std::memcpy(tile, even, kBlock * sizeof(float));
      std::memcpy(tile + kBlock, odd, kBlock * sizeof(float));
    }
  }

  const int64_t width_;
  const FrnPhases& phases_;
};

}  // namespace

void ComputeInterleaving(const KernelTable& table, const BlockedShape& shape, int64_t width,
                         const FrnPhases& phases, float* y, const Parameters<float>& params,
                         Executor& executor) {
  const FrnShape units{shape.units(), 4 * shape.pixels, shape.block, 1};
  if (units.elements() == 0) return;
  const FrnCall<float> call{
      KernelsOf(table, float{}), units, phases[0], nullptr, y, params, executor, IsLarge(units, y)};
  ComputeUnits(Interleaving(table, shape, width, phases, call), shape, call);
}

}  // namespace frn
