// Devices the planner is tested for. Sources: NVIDIA's tuning guides and datasheets.

#ifndef FRN_ONNX_TESTS_SIMT_PROFILES_H_
#define FRN_ONNX_TESTS_SIMT_PROFILES_H_

#include <stdexcept>
#include <string>

#include "cuda/planner.h"

namespace frn::cuda {

struct NamedProfile {
  const char* name;
  DeviceProfile device;
};

constexpr int64_t kKb = 1 << 10, kMb = 1 << 20;

// SMs, threads and blocks per SM, shared memory per SM and block, L2, GB/s, the largest cluster.
inline constexpr NamedProfile kProfiles[] = {
    {"T4", {40, 1024, 16, 64 * kKb, 64 * kKb, 4 * kMb, 320, 1}},
    {"A100", {108, 2048, 32, 164 * kKb, 163 * kKb, 40 * kMb, 1555, 1}},
    {"L4", {58, 1536, 24, 100 * kKb, 99 * kKb, 48 * kMb, 300, 1}},
    {"H100", {132, 2048, 32, 228 * kKb, 227 * kKb, 50 * kMb, 3352, 16}},
    {"H200", {132, 2048, 32, 228 * kKb, 227 * kKb, 60 * kMb, 4800, 16}},
    {"H200 without clusters", {132, 2048, 32, 228 * kKb, 227 * kKb, 60 * kMb, 4800, 1}},
    {"B200", {148, 2048, 32, 228 * kKb, 227 * kKb, 126 * kMb, 8000, 16}},
};

inline DeviceProfile ProfileOf(const std::string& name) {
  for (const NamedProfile& profile : kProfiles) {
    if (profile.name == name) return profile.device;
  }
  throw std::invalid_argument("no profile " + name);
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_TESTS_SIMT_PROFILES_H_
