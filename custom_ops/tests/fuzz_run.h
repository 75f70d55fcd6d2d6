// Runs one case of the fuzz driver through the real callbacks and checks everything about it.

#ifndef FRN_ONNX_TESTS_FUZZ_RUN_H_
#define FRN_ONNX_TESTS_FUZZ_RUN_H_

#include <cstdint>
#include <deque>
#include <string>

#include "tests/fake_ort.h"
#include "tests/fuzz_case.h"
#include "tests/guarded.h"

namespace frn_test {

// The next allocations of this thread: number `nth` fails. 0: none.
void FailAllocation(int nth);
bool AllocationFailed();

class Fuzzer {
 public:
  Fuzzer() : x_(64 << 20), y_(64 << 20) {}

  // What is wrong with the library's handling of the case; empty if nothing is.
  std::string Run(const FuzzCase& test);

  // How many cases ran to a result, were refused when made, when run, failed as asked, and had a
  // type that no op takes.
  struct Counts {
    int64_t ran = 0, refused_made = 0, refused_run = 0, faulted = 0, no_op = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Placed;
  std::string Check(const FuzzCase& test, const OrtCustomOp& op);
  std::string CheckResult(const FuzzCase& test, const fake_ort::Session& session, Placed* placed);

  Ops ops_;
  Guarded x_, y_;
  std::deque<Guarded> params_;
  Counts counts_;
};

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_FUZZ_RUN_H_
