// The CUDA kernels' own source against float64, on a CPU: thousands of shapes, types, offsets,
// cuts, schedules and device profiles.
//
//   kernels_test [--full] [--seed N]
//
// Prints each failure's case and exits 1 after the tenth, or at the end.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "tests/simt/case_generator.h"
#include "tests/simt/profiles.h"

namespace frn::cuda {
namespace {

constexpr int kMostFailures = 10;

// What is under test, for the handler of a touched guard page.
char current_case[512];

void OnGuardPage(int) {
  std::printf("FAILED %s\n  touched memory behind a tensor\n", current_case);
  std::fflush(stdout);
  std::_Exit(1);
}

struct Totals {
  int64_t cases = 0;
  int64_t elements = 0;
  int failures = 0;

  void Run(const FrnCase& test) {
    ++cases;
    elements += test.shape.elements();
    std::snprintf(current_case, sizeof(current_case), "%s", test.ToString().c_str());
    const std::string wrong = RunCase(test);
    if (wrong.empty()) return;
    std::printf("FAILED %s\n  %s\n", test.ToString().c_str(), wrong.c_str());
    if (++failures == kMostFailures) std::exit(1);
  }
};

// The planes of a ResNet-50 and what is hostile beside them, on every device.
void RunKnownShapes(CaseGenerator* generate, int64_t most_elements, Totals* totals) {
  constexpr int64_t kPlanes[] = {1,    2,    3,    7,    8,    9,    15,    16,   17,   31,
                                 32,   33,   49,   63,   64,   65,   127,   128,  129,  196,
                                 255,  256,  257,  511,  512,  513,  784,   1023, 1024, 1025,
                                 2047, 2048, 2049, 3136, 4097, 8191, 12544, 16385};
  constexpr int64_t kChannels[] = {1,  2,  3,  4,  7,  8,  12,  15,  16,  17, 24,
                                   31, 32, 33, 63, 64, 65, 127, 128, 129, 256};
  for (const int64_t plane : kPlanes) {
    for (const int64_t channels : kChannels) {
      if (plane * channels > most_elements) continue;
      for (const bool channels_last : {false, true}) {
        const FrnShape shape =
            channels_last ? FrnShape{1, plane, channels, 1} : FrnShape{1, 1, channels, plane};
        FrnCase test = generate->RandomTensors(shape);
        const auto& profile = kProfiles[generate->Between(0, std::size(kProfiles) - 1)];
        test.plan = MakePlan(test.problem(), profile.device).value();
        totals->Run(test);
      }
    }
  }
}

int Main(bool full, uint64_t seed) {
  const auto begin = std::chrono::steady_clock::now();
  std::signal(SIGSEGV, OnGuardPage);
  CaseGenerator generate(seed);
  Totals totals;
  const int scale = full ? 50 : 1;
  RunKnownShapes(&generate, full ? 1 << 20 : 1 << 12, &totals);
  for (const Kernel kernel : kKernels) {
    for (int i = 0; i < 250 * scale; ++i) totals.Run(generate.RandomCut(kernel, 1500));
    for (int i = 0; i < 10 * scale; ++i) totals.Run(generate.RandomCut(kernel, 20000));
  }
  for (int i = 0; i < 250 * scale; ++i) totals.Run(generate.Planned(2000));
  for (int i = 0; i < 10 * scale; ++i) totals.Run(generate.Planned(60000));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("%lld cases, %.1f M elements, %d failed, %.1f s\n",
              static_cast<long long>(totals.cases), static_cast<double>(totals.elements) / 1e6,
              totals.failures, seconds.count());
  return totals.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace frn::cuda

int main(int argc, char** argv) {
  bool full = false;
  uint64_t seed = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--full") == 0) {
      full = true;
    } else if (std::strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: kernels_test [--full] [--seed N]\n");
      return 2;
    }
  }
  return frn::cuda::Main(full, seed);
}
