#include "cpu/blocked.h"

#include <algorithm>
#include <vector>

#include "cpu/units.h"

namespace frn {
namespace {

// One value per channel, as given or `otherwise`, and `filled` for those that fill the last block.
std::vector<float> Filled(const float* values, float otherwise, int64_t channels, int64_t all,
                          float filled) {
  std::vector<float> out(all, filled);
  if (values == nullptr) {
    std::fill_n(out.begin(), channels, otherwise);
  } else {
    std::copy_n(values, channels, out.begin());
  }
  return out;
}

class SameLayout : public UnitCut {
 public:
  using UnitCut::UnitCut;

  void Sum(int64_t unit, int64_t begin, int64_t end, const float* factor, double* sums) const {
    SumPixels(call_.x + At(unit, begin), end - begin, factor, sums);
  }

  void Apply(int64_t unit, int64_t begin, int64_t end, const UnitScales& scales) const {
    const int64_t chunk = kChunkBytes / (shape_.block * static_cast<int64_t>(sizeof(float)));
    Backwards(begin, end, chunk, [&](int64_t pixel, int64_t count) {
      const int64_t at = At(unit, pixel);
      ApplyPixels(unit, call_.x + at, at, count, scales);
    });
  }
};

}  // namespace

// With epsilon 0 in what fills up, 0 / 0 would be NaN there, which the next convolution spreads.
Parameters<float> PrepareBlocked(const FrnParams<float>& params, int64_t channels, int64_t block) {
  const int64_t blocks = CeilDiv(channels, block), all = blocks * block;
  const auto gamma = Filled(params.gamma, 0, channels, all, 0);
  const auto beta = Filled(params.beta, 0, channels, all, 0);
  const auto epsilon = Filled(params.epsilon, params.epsilon_scalar, channels, all, 1);
  FrnParams<float> filled;
  filled.gamma = gamma.data();
  filled.beta = beta.data();
  filled.epsilon = epsilon.data();
  std::vector<float> tau;
  if (params.tau != nullptr) {
    tau = Filled(params.tau, 0, channels, all, 0);
    filled.tau = tau.data();
  }
  return {filled, block, 1, blocks};
}

void ComputeBlocked(const KernelTable& table, const BlockedShape& shape, const float* x,
                    const float* residual, float* y, const Parameters<float>& params,
                    Executor& executor) {
  const FrnShape units{shape.units(), shape.pixels, shape.block, 1};
  if (units.elements() == 0) return;
  const FrnCall<float> call{KernelsOf(table, float{}), units, x, residual, y, params, executor,
                            IsLarge(units, y)};
  ComputeUnits(SameLayout(table, shape, call), shape, call);
}

}  // namespace frn
