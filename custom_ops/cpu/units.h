// FRN of blocked tensors unit by unit: what is common to the ways in which x and y may lie.

#ifndef FRN_ONNX_CPU_UNITS_H_
#define FRN_ONNX_CPU_UNITS_H_

#include <algorithm>
#include <vector>

#include "cpu/blocked.h"
#include "cpu/frn_call.h"
#include "cpu/scales.h"

namespace frn {

constexpr int64_t kTile = 128;  // pixels that are put into their new order at once
constexpr int64_t kMaxBlock = 16;

// What belongs to the channels of a unit.
struct UnitScales {
  float scale[kMaxBlock], factor[kMaxBlock];
  bool factored = false;
};

// call.shape is that of all units: (units, pixels of y, block, 1).
class UnitCut {
 public:
  UnitCut(const KernelTable& table, const BlockedShape& shape, const FrnCall<float>& call)
      : table_(table), shape_(shape), call_(call) {}

 protected:
  // Where pixel `at` of a unit begins.
  int64_t At(int64_t unit, int64_t at) const { return (unit * shape_.pixels + at) * shape_.block; }

  // Adds the squares of `count` pixels, one of each channel; of x * factor where that is given.
  void SumPixels(const float* x, int64_t count, const float* factor, double* sums) const {
    table_.sum_pixels(x, count, shape_.block, factor, sums);
  }

  // Normalises `count` pixels of a unit, to where y begins `at`.
  void ApplyPixels(int64_t unit, const float* x, int64_t at, int64_t count,
                   const UnitScales& scales) const {
    table_.apply_pixels(x, call_.ResidualAt(at), call_.y + at, count, shape_.block,
                        scales.factored ? scales.factor : nullptr, scales.scale,
                        call_.params.shift(unit), call_.params.tau(unit), call_.large);
  }

  const KernelTable& table_;
  const BlockedShape& shape_;
  const FrnCall<float>& call_;
};

// A task takes whole units.
template <class Cut>
void OwnUnits(const Cut& cut, const BlockedShape& shape, const FrnCall<float>& call,
              int64_t bytes) {
  const int64_t pixels = shape.pixels;
  call.RunUnits(shape.units(), bytes, [&](int64_t unit) {
    double sums[kMaxBlock], spare[kMaxBlock];
    UnitScales scales;
    const auto sum = [&](const float* factor, double* sums) {
      std::fill_n(sums, shape.block, 0.0);
      cut.Sum(unit, 0, pixels, factor, sums);
    };
    scales.factored =
        SumAndScale(call, unit, 0, shape.block, sums, spare, scales.factor, scales.scale, sum);
    cut.Apply(unit, 0, pixels, scales);
  });
}

// All threads take slices of a group of units, first to sum, then to normalise.
template <class Cut>
void SharedUnits(const Cut& cut, const BlockedShape& shape, const FrnCall<float>& call,
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
      cut.Sum(first + i / slices, i % slices * length, end_of(i % slices), nullptr, sums);
    });
    for (int64_t g = 0; g < count; ++g) {
      double sums[kMaxBlock], spare[kMaxBlock];
      UnitScales& of_unit = scales[g];
      add_slices(&partial[g * slices * block], sums);
      const auto sum_again = [&](const float* factor, double* sums) {
        call.Run(slices, [&](int64_t i) {
          std::fill_n(&again[i * block], block, 0.0);
          cut.Sum(first + g, i * length, end_of(i), factor, &again[i * block]);
        });
        add_slices(again.data(), sums);
      };
      of_unit.factored = ScalesOf(call, first + g, 0, block, sums, spare, of_unit.factor,
                                  of_unit.scale, sum_again);
    }
    const auto apply = [&](int64_t i) {
      cut.Apply(first + i / slices, i % slices * length, end_of(i % slices), scales[i / slices]);
    };
    call.Run(count * slices, apply, TaskOrder::kBackwards);
  }
}

// A Cut is a UnitCut that has
//   // Adds the squares to sums, one of each channel; of x * factor where that is given.
//   void Sum(int64_t unit, int64_t begin, int64_t end, const float* factor, double* sums) const;
//   void Apply(int64_t unit, int64_t begin, int64_t end, const UnitScales& scales) const;
// for the pixels begin .. end of x, of shape.pixels.
template <class Cut>
void ComputeUnits(const Cut& cut, const BlockedShape& shape, const FrnCall<float>& call) {
  const int64_t bytes = call.shape.plane() * shape.block * static_cast<int64_t>(sizeof(float));
  const bool few = shape.units() < kFewTasks && bytes > 2 * kTaskBytes;
  if (bytes > kOwnBytes || few) {
    SharedUnits(cut, shape, call, bytes);
  } else {
    OwnUnits(cut, shape, call, bytes);
  }
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_UNITS_H_
