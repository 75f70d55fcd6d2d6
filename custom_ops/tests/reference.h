// FRN in wide arithmetic, element by element, and how far from it correct arithmetic in the
// element's type may be. tests/tolerances.py derives the bound and tests/native_cases.py the chains
// of additions.

#ifndef FRN_ONNX_TESTS_REFERENCE_H_
#define FRN_ONNX_TESTS_REFERENCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/elements.h"

namespace frn_test {

struct Problem {
  ElementType type;
  int64_t batch, outer, channels, inner;  // as FrnShape
  const void* x;
  const void* residual = nullptr;                 // nullptr: none
  std::vector<double> gamma, beta, tau, epsilon;  // one value per channel; tau may be empty

  int64_t elements() const { return batch * outer * channels * inner; }
};

struct Reference {
  std::vector<double> y;
  std::vector<double> allowed;  // |error|; negative: anything goes
};

Reference ComputeReference(const Problem& problem);

// The first element of y that is further from the reference than allowed; empty if none is.
std::string FindError(ElementType type, const Reference& reference, const void* y);

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_REFERENCE_H_
