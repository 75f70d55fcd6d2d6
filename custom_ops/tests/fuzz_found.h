// Cases that the fuzz driver found the library to fail on, or that its tables do not reach.

#ifndef FRN_ONNX_TESTS_FUZZ_FOUND_H_
#define FRN_ONNX_TESTS_FUZZ_FOUND_H_

#include <string>
#include <vector>

#include "tests/fuzz_case.h"

namespace frn_test {

struct FoundCase {
  const char* name;
  FuzzCase test;
};
std::vector<FoundCase> FoundCases(const std::string& target);

// RegisterCustomOps with every version of ONNX Runtime, and with each of its calls, and each
// allocation, failing in turn; what is wrong, if anything.
std::string CheckRegistration();

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_FUZZ_FOUND_H_
