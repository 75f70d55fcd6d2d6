// FRN nodes for the fuzz driver: most of them right, many with one or two things wrong, with odd
// values in any operand; and what must become of each, judged without the library's own checks.

#ifndef FRN_ONNX_TESTS_FUZZ_CASE_H_
#define FRN_ONNX_TESTS_FUZZ_CASE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/fake_ort.h"
#include "tests/ops.h"

namespace frn_test {

enum class Verdict { kRuns, kRefusedWhenMade, kRefusedWhenRun };
enum class Fault { kNone, kCall, kMemory };

// A node, its tensors' bytes, and how it is to be run.
struct FuzzCase {
  std::string target;     // of the CPU
  bool residual = false;  // which op: the one that has a residual
  fake_ort::Node node;
  std::vector<std::vector<char>> data;  // of each input
  std::vector<size_t> offsets;          // from the page that guards it, of each input and of Y
  bool at_end = true;                   // that page is behind the data, or before it
  fake_ort::Order order = fake_ort::Order::kForwards;
  Fault fault = Fault::kNone;
  int fault_at = 0;  // which call, or allocation, fails
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();                               // any bits
  int64_t Int(int64_t low, int64_t high);        // both included
  bool In(int64_t n) { return Int(1, n) == 1; }  // once in n times
  double Real();                                 // in [0, 1)
  double Normal();                               // about so
  template <class T, size_t kCount>
  const T& Of(const T (&values)[kCount]) {
    return values[Int(0, kCount - 1)];
  }

 private:
  uint64_t state_;
};

// Case number `index` of the series `seed`, for the CPU targets named.
FuzzCase MakeCase(uint64_t seed, uint64_t index, const std::vector<std::string>& targets);

// A case that runs, of this type, shape and axes, for tests to change.
FuzzCase PlainCase(const std::string& target, ONNXTensorElementDataType type,
                   const fake_ort::Dims& x, const fake_ort::Dims& axes, bool residual = false);

// `count` values of one kind, from ordinary ones to random bits.
constexpr const char* kValueKinds[] = {"ordinary", "zeros", "constant",  "huge", "tiny",
                                       "mixed",    "spots", "subnormal", "bits"};
std::vector<char> MakeValues(Random& random, ONNXTensorElementDataType type, int64_t count,
                             const std::string& kind);

Verdict Judge(const FuzzCase& test);
std::string Describe(const FuzzCase& test);

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_FUZZ_CASE_H_
