// The arithmetic that the kernels have in common.

#include "cuda/elements.h"

#include <cstdio>
#include <random>

namespace frn::cuda {
namespace {

int failures = 0;

void Expect(bool condition, const char* what, uint64_t n, uint64_t d) {
  if (condition) return;
  ++failures;
  std::printf("FAILED %s of %llu and %llu\n", what, static_cast<unsigned long long>(n),
              static_cast<unsigned long long>(d));
}

void CheckDivision(uint32_t n, uint32_t d) {
  const FastDivisor divisor = FastDivisor::Of(d);
  Expect(Quotient(n, divisor) == n / d, "quotient", n, d);
  Expect(Remainder(n, divisor) == n % d, "remainder", n, d);
  if ((n + uint64_t{1}) * d > uint64_t{1} << 32) return;
  Expect(SmallQuotient(static_cast<int>(n), divisor) == static_cast<int>(n / d), "small quotient",
         n, d);
}

// Numbers beside multiples of the divisor, where an inexact reciprocal shows; the largest ones.
void TestDivision() {
  std::mt19937 random(1);
  const auto up_to = [&](uint32_t most) { return random() % most + 1; };
  for (int i = 0; i < 200000; ++i) {
    const uint32_t d = up_to(1u << up_to(30));
    const uint32_t most = i % 2 == 0 ? 0xfffffffeu : (0xffffffffu / d);
    const uint32_t multiple = (up_to(most) - 1) / d * d;
    for (const uint32_t n : {multiple, multiple - (multiple > 0), multiple / 2, most - 1}) {
      CheckDivision(n, d);
    }
  }
  // Planes of a tensor: below 2^34.
  for (int i = 0; i < 200000; ++i) {
    const uint32_t d = up_to(1u << up_to(30));
    const int64_t multiple = (static_cast<int64_t>(random()) * 2 + (int64_t{1} << 32)) / d * d;
    for (const int64_t n : {multiple, multiple - 1, multiple + d / 2}) {
      Expect(Remainder(n, FastDivisor::Of(d)) == n % d, "wide remainder", n, d);
    }
  }
  for (uint32_t d = 1; d <= 1024; ++d) {
    for (uint32_t n = 0; n < 16400; ++n) CheckDivision(n, d);
  }
}

void TestLog2() {
  for (int i = 0; i < 31; ++i) Expect(Log2(1 << i) == i, "logarithm", i, 2);
}

}  // namespace
}  // namespace frn::cuda

int main() {
  frn::cuda::TestDivision();
  frn::cuda::TestLog2();
  std::printf("elements: %d failed\n", frn::cuda::failures);
  return frn::cuda::failures == 0 ? 0 : 1;
}
