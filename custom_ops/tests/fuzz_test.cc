// FRN nodes of every kind, right and wrong, through RegisterCustomOps and the ops' own callbacks,
// against the stand-in of ONNX Runtime; built with sanitizers. What earlier runs found comes first,
// each under its name (fuzz_found.cc).
//
//   fuzz_test [COUNT [SEED [FIRST]]]     COUNT cases of the series SEED, from number FIRST on

#ifndef _WIN32
#include <unistd.h>

#include <csignal>
#endif

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/fuzz_found.h"
#include "tests/fuzz_run.h"
#include "tests/ops.h"

namespace {

using namespace frn_test;

constexpr int kShown = 20;

// What runs too long has hung: its number is said, and the program ends.
class Watch {
 public:
  Watch() {
#ifndef _WIN32
    std::signal(SIGALRM, [](int) {
      std::fprintf(stderr, "case %llu hangs\n", static_cast<unsigned long long>(current));
      std::abort();
    });
#endif
  }
  void Begin(uint64_t index) {
    current = index;
#ifndef _WIN32
    alarm(kSeconds);
#endif
  }

 private:
  static constexpr unsigned kSeconds = 60;
  static inline volatile uint64_t current = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, uint64_t otherwise) {
    return argc > i ? std::strtoull(argv[i], nullptr, 10) : otherwise;
  };
  const uint64_t count = argument(1, 3000), seed = argument(2, 1), first = argument(3, 0);
  const std::vector<std::string> targets = UsableTargets();
  int failures = 0;
  const auto fail = [&](const std::string& name, const std::string& problem) {
    if (++failures <= kShown) std::printf("FAIL %s: %s\n", name.c_str(), problem.c_str());
  };

  const std::string registration = CheckRegistration();
  if (!registration.empty()) fail("registration", registration);
  Fuzzer fuzzer;
  for (const std::string& target : targets) {
    for (const FoundCase& found : FoundCases(target)) {
      const std::string problem = fuzzer.Run(found.test);
      if (!problem.empty()) fail(std::string(found.name) + " (" + target + ")", problem);
    }
  }
  Watch watch;
  for (uint64_t i = first; i < first + count; ++i) {
    watch.Begin(i);
    const FuzzCase test = MakeCase(seed, i, targets);
    if (count == 1) std::printf("%s\n", Describe(test).c_str());
    const std::string problem = fuzzer.Run(test);
    if (problem.empty()) continue;
    fail("case " + std::to_string(i) + " of series " + std::to_string(seed),
         problem + "\n    " + Describe(test));
  }
  const Fuzzer::Counts& counts = fuzzer.counts();
  std::printf(
      "%lld ran, %lld were refused when made, %lld when run, %lld failed as asked, %lld had a type "
      "that no op takes; %d failures\n",
      static_cast<long long>(counts.ran), static_cast<long long>(counts.refused_made),
      static_cast<long long>(counts.refused_run), static_cast<long long>(counts.faulted),
      static_cast<long long>(counts.no_op), failures);
  return failures == 0 ? 0 : 1;
}
