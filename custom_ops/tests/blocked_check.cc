#include "tests/blocked_check.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/blocked.h"
#include "tests/guarded.h"

namespace frn_test {
namespace {

using frn::BlockedShape;
using frn::CeilDiv;

enum class Way { kBlocked, kToBlocked, kFromBlocked };
constexpr const char* kWays[] = {"blocked", "to blocked", "from blocked"};

// A tensor in memory, blocked or as planes; beyond the channels a blocked one has more.
struct Layout {
  BlockedShape shape;
  bool blocked;

  int64_t channels() const { return blocked ? shape.blocks() * shape.block : shape.channels; }
  int64_t size() const { return shape.batch * channels() * shape.pixels; }
  int64_t At(int64_t n, int64_t c, int64_t i) const {
    if (!blocked) return (n * shape.channels + c) * shape.pixels + i;
    const int64_t unit = n * shape.blocks() + c / shape.block;
    return (unit * shape.pixels + i) * shape.block + c % shape.block;
  }
};

class Check {
 public:
  Check(const frn::CpuTarget& target, frn::Executor& executor, const BlockedShape& shape, Way way,
        bool with_residual, bool at_end)
      : table_(*target.kernels),
        executor_(executor),
        way_(way),
        in_{shape, way != Way::kToBlocked},
        out_{shape, way != Way::kFromBlocked},
        x_(Place(memory_[0], in_, at_end)),
        residual_(with_residual ? Place(memory_[1], out_, at_end) : nullptr),
        y_(Place(memory_[2], out_, at_end)) {
    std::mt19937 random(20191120);
    std::normal_distribution<float> normal;
    for (std::vector<float>* values : {&gamma_, &beta_, &tau_}) {
      for (int64_t c = 0; c < shape.channels; ++c) values->push_back(normal(random));
    }
    Fill(in_, x_, [&] { return normal(random) * 1.5f - 2.3f; });
    if (residual_ != nullptr) Fill(out_, residual_, [&] { return normal(random) * 2 + 0.7f; });
  }

  bool Run() const {
    Compute(x_, residual_, y_);
    for (int64_t n = 0; n < in_.shape.batch; ++n) {
      for (int64_t c = 0; c < out_.channels(); ++c) {
        if (!IsRight(n, c)) return false;
      }
    }
    return true;
  }

  // After Run: the same bits where nothing lies at a multiple of its size. Moves all of it.
  bool RunMisaligned(bool at_end) const {
    const auto move = [&](const Guarded& memory, const Layout& layout, const float* from) {
      const size_t bytes = layout.size() * sizeof(float);
      char* const to = memory.Place(bytes, at_end, 1);
      std::memmove(to, from, bytes);
      return reinterpret_cast<float*>(to);
    };
    const size_t bytes = out_.size() * sizeof(float);
    const std::vector<float> expected(y_, y_ + out_.size());
    const float* const x = move(memory_[0], in_, x_);
    const float* const residual =
        residual_ == nullptr ? nullptr : move(memory_[1], out_, residual_);
    float* const y = reinterpret_cast<float*>(memory_[2].Place(bytes, at_end, 1));
    std::memset(static_cast<void*>(y), 0xff, bytes);
    Compute(x, residual, y);
    return std::memcmp(y, expected.data(), bytes) == 0;
  }

 private:
  static constexpr float kEpsilon = 0.125f;

  static float* Place(const Guarded& memory, const Layout& layout, bool at_end) {
    return reinterpret_cast<float*>(memory.Place(layout.size() * sizeof(float), at_end));
  }
  template <class F>
  static void Fill(const Layout& layout, float* values, F&& draw) {
    for (int64_t i = 0; i < layout.size(); ++i) values[i] = 0;
    for (int64_t n = 0; n < layout.shape.batch; ++n) {
      for (int64_t c = 0; c < layout.shape.channels; ++c) {
        for (int64_t i = 0; i < layout.shape.pixels; ++i) values[layout.At(n, c, i)] = draw();
      }
    }
  }

  void Compute(const float* x, const float* residual, float* y) const {
    const BlockedShape& shape = in_.shape;
    frn::FrnParams<float> params;
    params.gamma = gamma_.data();
    params.beta = beta_.data();
    params.tau = tau_.data();
    params.epsilon_scalar = kEpsilon;
    const auto prepared = frn::PrepareBlocked(params, shape.channels, shape.block);
    if (way_ == Way::kBlocked) {
      frn::ComputeBlocked(table_, shape, x, residual, y, prepared, executor_);
    } else {
      const auto reorder =
          way_ == Way::kToBlocked ? frn::Reorder::kToBlocked : frn::Reorder::kFromBlocked;
      frn::ComputeReordering(table_, reorder, shape, x, residual, y, prepared, executor_);
    }
  }

  bool IsRight(int64_t n, int64_t c) const {
    const bool fills_up = c >= in_.shape.channels;
    double sum = 0;
    for (int64_t i = 0; i < in_.shape.pixels && !fills_up; ++i) {
      sum += std::pow(double{x_[in_.At(n, c, i)]}, 2);
    }
    const double root = std::sqrt(sum / static_cast<double>(in_.shape.pixels) + kEpsilon);
    for (int64_t i = 0; i < in_.shape.pixels; ++i) {
      const int64_t at = out_.At(n, c, i);
      double expected = 0, allowed = 0;
      if (!fills_up) {
        const double scaled = gamma_[c] * double{x_[in_.At(n, c, i)]} / root;
        const double added = residual_ == nullptr ? 0 : residual_[at];
        expected = std::fmax(scaled + beta_[c] + added, tau_[c]);
        allowed = (std::fabs(scaled) + std::fabs(beta_[c]) + std::fabs(added)) * 26 * 0x1p-24;
      }
      if (!(std::fabs(y_[at] - expected) <= allowed)) return false;
    }
    return true;
  }

  static inline const Guarded memory_[3] = {Guarded(8 << 20), Guarded(8 << 20), Guarded(8 << 20)};

  const frn::KernelTable& table_;
  frn::Executor& executor_;
  const Way way_;
  const Layout in_, out_;
  float *const x_, *const residual_, *const y_;
  std::vector<float> gamma_, beta_, tau_;
};

}  // namespace

int CheckBlocked(const frn::CpuTarget& target, frn::Executor& executor) {
  // The last two are shared by all threads.
  const int64_t shapes[][3] = {{2, 16, 49}, {1, 13, 1},   {3, 40, 15},   {1, 33, 132},
                               {1, 8, 513}, {2, 24, 129}, {1, 20, 4500}, {1, 16, 40001}};
  int failures = 0;
  for (const auto& [batch, channels, pixels] : shapes) {
    for (const int64_t block : {8, 16}) {
      for (const Way way : {Way::kBlocked, Way::kToBlocked, Way::kFromBlocked}) {
        for (int variant = 0; variant < 4; ++variant) {
          const bool residual = (variant & 1) != 0, at_end = (variant & 2) != 0;
          const BlockedShape shape{batch, channels, pixels, block};
          const Check check(target, executor, shape, way, residual, at_end);
          if (check.Run() && check.RunMisaligned(at_end)) continue;
          std::printf("FAIL %s: %s by %lld, (%lld, %lld, %lld)%s\n", target.name,
                      kWays[static_cast<int>(way)], static_cast<long long>(block),
                      static_cast<long long>(batch), static_cast<long long>(channels),
                      static_cast<long long>(pixels), residual ? ", residual" : "");
          ++failures;
        }
      }
    }
  }
  return failures;
}

}  // namespace frn_test
