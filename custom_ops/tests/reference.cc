#include "tests/reference.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace frn_test {
namespace {

// Wider than double where the machine has it; the squares of doubles then do not overflow.
using Wide = long double;

// CHAIN of tests/native_cases.py.
int64_t Chain(ElementType type) { return type == kDouble ? 32 + 2 + 320 + 64 + 64 : 34; }

// Whether the kernels' own intermediate results can hold this. Doubles have nothing wider for their
// squares and scales; a product beyond the largest float is infinite where there is no fused
// multiply-add.
bool Representable(ElementType type, Wide radicand, Wide gamma, Wide scaled) {
  const auto fits = [](Wide value) {
    const Wide magnitude = std::fabs(value);
    return !std::isfinite(value) || magnitude == 0 || (magnitude > 1e-290L && magnitude < 1e290L);
  };
  if (type == kDouble) return fits(radicand) && fits(gamma / std::sqrt(radicand)) && fits(scaled);
  return !std::isfinite(scaled) || std::fabs(scaled) <= std::numeric_limits<float>::max();
}

}  // namespace

Reference ComputeReference(const Problem& p) {
  const Format format = FormatOf(p.type);
  const double u_out = format.unit(), u = p.type == kDouble ? 0x1p-53 : 0x1p-24;
  const int64_t plane = p.outer * p.inner;
  const double levels = static_cast<double>(std::min(plane, Chain(p.type)));
  const double sums = p.residual == nullptr ? 4 : 5;
  const double relative = (0.5 * (levels + 3) + sums) * u;
  Reference reference;
  reference.y.resize(p.elements());
  reference.allowed.resize(p.elements());
  for (int64_t n = 0; n < p.batch; ++n) {
    for (int64_t c = 0; c < p.channels; ++c) {
      const auto at = [&](int64_t i) {
        return ((n * p.outer + i / p.inner) * p.channels + c) * p.inner + i % p.inner;
      };
      Wide sum = 0;
      for (int64_t i = 0; i < plane; ++i) {
        const Wide value = Load(p.type, p.x, at(i));
        sum += value * value;
      }
      const Wide nu2 = sum / static_cast<Wide>(plane), radicand = nu2 + p.epsilon[c];
      // An epsilon below zero, which only the input can be, takes digits away.
      const Wide lost = p.epsilon[c] < 0 ? (nu2 - p.epsilon[c]) / std::fabs(radicand) : 1;
      const Wide root = std::sqrt(radicand);
      for (int64_t i = 0; i < plane; ++i) {
        const Wide scaled = p.gamma[c] * (Load(p.type, p.x, at(i)) / root);
        Wide y = scaled + p.beta[c];
        Wide magnitude = std::fabs(scaled) + std::fabs(p.beta[c]);
        bool judged = Representable(p.type, radicand, p.gamma[c], scaled);
        if (p.residual != nullptr) {
          judged = judged && Representable(p.type, 1, 1, y);  // the kernel's sum, until then
          const Wide residual = Load(p.type, p.residual, at(i));
          y += residual;
          magnitude += std::fabs(residual);
        }
        Wide allowed = magnitude * (relative * lost + u_out) + format.smallest();
        // Of one element x / root is a float of its own, and may be a subnormal one, or become 0.
        if (plane == 1 && p.type != kDouble) allowed += std::fabs(p.gamma[c]) * 0x1p-149L;
        const Wide unit = std::fabs(Load(p.type, p.x, at(i)) / root);
        const bool vanishes = plane == 1 && unit > 0 && unit < 0x1p-149L && std::isinf(p.gamma[c]);
        if (!p.tau.empty()) {
          y = std::isnan(p.tau[c]) || y < p.tau[c] ? Wide{p.tau[c]} : y;
          if (std::isfinite(p.tau[c])) allowed += std::fabs(p.tau[c]) * u_out;
        }
        reference.y[at(i)] = static_cast<double>(y);
        judged = judged && !vanishes;
        reference.allowed[at(i)] =
            judged && lost * relative < 0.1 ? static_cast<double>(allowed) : -1;
      }
    }
  }
  return reference;
}

std::string FindError(ElementType type, const Reference& reference, const void* y) {
  const double largest = FormatOf(type).largest();
  for (int64_t i = 0; i < static_cast<int64_t>(reference.y.size()); ++i) {
    const double got = Load(type, y, i), expected = reference.y[i];
    const double allowed = reference.allowed[i];
    if (allowed < 0 || got == expected || (std::isnan(got) && std::isnan(expected))) continue;
    if (std::fabs(got - expected) <= allowed && std::isfinite(expected)) continue;
    // Rounding to the element's type may reach infinity.
    const bool overflows = std::isinf(got) && std::fabs(expected) + allowed > largest;
    if (overflows && std::signbit(got) == std::signbit(expected) && !std::isnan(expected)) continue;
    char text[256];
    std::snprintf(text, sizeof(text),
                  "element %lld is %.9g, expected %.9g, error %.3g, allowed %.3g",
                  static_cast<long long>(i), got, expected, std::fabs(got - expected), allowed);
    return text;
  }
  return "";
}

}  // namespace frn_test
