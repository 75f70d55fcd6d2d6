// The CPU kernels over every target, element type and layout, each array between two pages that may
// not be touched, once at the end of its memory and once at the beginning: a read or write outside
// ends the program, masked vector loads included, which AddressSanitizer does not see. Built with
// it and UndefinedBehaviorSanitizer (FRN_ONNX_SANITIZE). Checks values too, against double
// arithmetic. The tests of record are tests/native; this one needs neither Python nor ONNX Runtime:
//
//   cmake -S custom_ops -B build/sanitize -DFRN_ONNX_SANITIZE=ON -DFRN_ONNX_CUDA=off
//   cmake --build build/sanitize && build/sanitize/kernel_test

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/cpu_target.h"
#include "cpu/element.h"
#include "cpu/frn_cpu.h"
#include "cpu/thread_team.h"
#include "tests/blocked_check.h"

namespace {

using namespace frn;

// `count` elements that touch the guard page behind them, or the one before them.
template <class T>
class Guarded {
 public:
  Guarded(int64_t count, bool at_end) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    const size_t pages = (bytes + page - 1) / page * page;
    size_ = pages + 2 * page;
    memory_ =
        static_cast<char*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED ||
        (pages > 0 && mprotect(memory_ + page, pages, PROT_READ | PROT_WRITE) != 0)) {
      std::perror("kernel_test: mmap");
      std::exit(1);
    }
    data_ = reinterpret_cast<T*>(memory_ + page + (at_end ? pages - bytes : 0));
  }
  ~Guarded() { munmap(memory_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  char* memory_;
  size_t size_;
  T* data_;
};

template <class T>
T FromDouble(double value) {
  return static_cast<T>(value);
}
template <>
BF16 FromDouble(double value) {  // cut off, not rounded: any value will do as input
  const float narrow = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof(bits));
  return {static_cast<uint16_t>(bits >> 16)};
}
template <>
F16 FromDouble(double value) {
  int exponent;
  const double fraction = std::frexp(std::fabs(value), &exponent);  // in [0.5, 1)
  const uint16_t sign = value < 0 ? 0x8000 : 0;
  if (exponent < -13) return {sign};
  const int mantissa = static_cast<int>(fraction * 2048) - 1024;
  return {static_cast<uint16_t>(sign | (exponent + 14) << 10 | mantissa)};
}

template <class T>
constexpr double kUnit = std::is_same_v<T, double>  ? 0x1p-53
                         : std::is_same_v<T, float> ? 0x1p-24
                         : std::is_same_v<T, F16>   ? 0x1p-11
                                                    : 0x1p-8;

struct Case {
  Dims x;
  Dims axes;
};

const std::vector<Case> kCases = {
    {{2, 3, 7, 7}, {2, 3}},       {{1, 5, 1, 1}, {2, 3}},     {{3, 1, 5, 3}, {2, 3}},
    {{2, 130, 3, 5}, {2, 3}},     {{2, 17, 8, 8}, {2, 3}},    {{1, 3, 260, 250}, {2, 3}},
    {{1, 2, 600, 601}, {2, 3}},   {{1, 1, 601, 601}, {2, 3}}, {{2, 7, 7, 3}, {1, 2}},
    {{1, 1, 1, 5}, {1, 2}},       {{2, 9, 5, 15}, {1, 2}},    {{2, 9, 5, 17}, {1, 2}},
    {{2, 6, 7, 129}, {1, 2}},     {{2, 7, 7, 1025}, {1, 2}},  {{1, 1, 2, 2050}, {1, 2}},
    {{1, 60, 61, 40}, {1, 2}},    {{2, 130, 90, 66}, {1, 2}}, {{2, 200, 310, 3}, {1, 2}},
    {{2, 33, 70, 9}, {1, 3}},     {{3, 4, 1000}, {2}},        {{3, 1000, 4}, {1}},
    {{2, 4, 5, 3, 6}, {1, 2, 4}}, {{0, 3, 4, 4}, {2, 3}},     {{2, 0, 4, 4}, {2, 3}},
    {{2, 3, 0, 4}, {2, 3}},       {{35, 4, 4, 3}, {1, 2}},    {{19, 2, 5, 7}, {1, 2}},
};

int failures = 0;

// What the last run of a case got wrong, if anything.
template <class T>
void CheckValues(const std::string& what, const FrnShape& shape, const T* x, const T* residual,
                 const T* y, const std::vector<ComputeType<T>>& gamma,
                 const std::vector<ComputeType<T>>& beta, const std::vector<ComputeType<T>>& tau,
                 double epsilon) {
  const int64_t stride = shape.channels * shape.inner;
  for (int64_t n = 0; n < shape.batch; ++n) {
    for (int64_t c = 0; c < shape.channels; ++c) {
      const auto at = [&](int64_t i) {
        return n * shape.outer * stride + i / shape.inner * stride + c * shape.inner +
               i % shape.inner;
      };
      double sum = 0;
      for (int64_t i = 0; i < shape.plane(); ++i) sum += std::pow(ToDouble(x[at(i)]), 2);
      const double root = std::sqrt(sum / static_cast<double>(shape.plane()) + epsilon);
      for (int64_t i = 0; i < shape.plane(); ++i) {
        const double scaled = gamma[c] * ToDouble(x[at(i)]) / root;
        const double added = residual == nullptr ? 0 : ToDouble(residual[at(i)]);
        const double expected = std::fmax(scaled + beta[c] + added, tau[c]);
        const double unit = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;
        const double allowed = (std::fabs(scaled) + std::fabs(double{beta[c]}) + std::fabs(added) +
                                std::fabs(double{tau[c]})) *
                                   (kUnit<T> + (std::is_same_v<T, double> ? 400 : 24) * unit) +
                               0x1p-24;
        const double error = std::fabs(ToDouble(y[at(i)]) - expected);
        if (error <= allowed) continue;
        std::printf("FAIL %s: n=%lld c=%lld i=%lld is %g, expected %g, error %g, allowed %g\n",
                    what.c_str(), static_cast<long long>(n), static_cast<long long>(c),
                    static_cast<long long>(i), ToDouble(y[at(i)]), expected, error, allowed);
        ++failures;
        return;
      }
    }
  }
}

template <class T>
void RunCase(const CpuTarget& target, const Case& test, ThreadTeam& team, bool at_end) {
  using A = ComputeType<T>;
  const FrnShape shape = MakeShape(ParseAxes(test.axes), test.x);
  const int64_t count = shape.elements();
  std::mt19937 random(20191120);
  std::normal_distribution<double> normal;
  const Guarded<T> x(count, at_end), added(count, at_end), y(count, at_end);
  for (int64_t i = 0; i < count; ++i) {
    x[i] = FromDouble<T>(normal(random) * 1.5 - 2.3);
    added[i] = FromDouble<T>(normal(random) * 2 + 0.7);
  }
  std::vector<A> gamma(shape.channels), beta(shape.channels), tau(shape.channels);
  for (int64_t c = 0; c < shape.channels; ++c) {
    gamma[c] = static_cast<A>(normal(random));
    beta[c] = static_cast<A>(normal(random));
    tau[c] = static_cast<A>(normal(random));
  }
  FrnParams<A> params;
  params.gamma = gamma.data();
  params.beta = beta.data();
  params.tau = tau.data();
  params.epsilon_scalar = static_cast<A>(0.125);
  const std::string what = std::string(target.name) + ", " + std::to_string(sizeof(T)) +
                           " bytes, " + ToString(test.x) + " axes " + ToString(test.axes);
  const Kernels<T>& kernels = KernelsOf(*target.kernels, T{});
  const Guarded<T> over(count, at_end);
  for (const T* residual : {static_cast<const T*>(nullptr), static_cast<const T*>(added.get())}) {
    ComputeFrn<T>(kernels, shape, x.get(), residual, y.get(), params, team);
    CheckValues<T>(what, shape, x.get(), residual, y.get(), gamma, beta, tau, 0.125);
    const auto check_over = [&](const T* from, const T* x, const T* residual) {
      if (count == 0) return;
      std::memcpy(over.get(), from, sizeof(T) * count);
      ComputeFrn<T>(kernels, shape, x, residual, over.get(), params, team);
      if (std::memcmp(over.get(), y.get(), sizeof(T) * count) == 0) return;
      std::printf("FAIL %s: in place gives other bits\n", what.c_str());
      ++failures;
    };
    check_over(x.get(), over.get(), residual);
    if (residual != nullptr) check_over(residual, x.get(), over.get());
  }
}

// Dead channels need no factor, however many there are beside full vectors of them.
void CheckDeadChannels(const CpuTarget& target) {
  constexpr int64_t kMost = 40;
  const std::vector<double> sums(kMost, 0.0);
  const std::vector<float> gamma(kMost, 1.0f), epsilon(kMost, 0.0f);
  const Kernels<float>& kernels = KernelsOf(*target.kernels, float{});
  for (int64_t n = 1; n <= kMost; ++n) {
    std::vector<float> factor(n), scale(n);
    const bool usual = kernels.scales(sums.data(), n, 1, gamma.data(), epsilon.data(), &scale[0]);
    const bool again = kernels.sum_factors(sums.data(), n, 1, epsilon.data(), &factor[0]);
    const bool factored =
        kernels.wide_scales(sums.data(), n, 1, gamma.data(), epsilon.data(), &factor[0], &scale[0]);
    if (!usual && again && !factored && factor == std::vector<float>(n, 1.0f)) continue;
    std::printf("FAIL %s: %d dead channels have factors\n", target.name, static_cast<int>(n));
    ++failures;
  }
}

}  // namespace

int main() {
  ThreadTeam team(3);
  int runs = 0;
  for (const CpuTarget& target : CpuTargets()) {
    if (target.kernels == nullptr || !target.supported) {
      std::printf("skipped: %s (not compiled in, or not supported here)\n", target.name);
      continue;
    }
    for (const Case& test : kCases) {
      for (bool at_end : {true, false}) {
        RunCase<float>(target, test, team, at_end);
        RunCase<double>(target, test, team, at_end);
        RunCase<F16>(target, test, team, at_end);
        RunCase<BF16>(target, test, team, at_end);
        runs += 4;
      }
    }
    CheckDeadChannels(target);
    failures += frn_test::CheckBlocked(target, team);
  }
  std::printf("%d cases, %d failures\n", runs, failures);
  return failures == 0 ? 0 : 1;
}
