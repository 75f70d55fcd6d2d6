#include "cpu/cpu_target.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <string>

#include "frn_shape.h"

namespace frn {
namespace {

constexpr char kVariable[] = "FRN_ONNX_CPU_TARGET";

bool HasAvx2() {
#if defined(__x86_64__) || defined(__i386__)
  unsigned eax, ebx, ecx, edx;  // Clang's __builtin_cpu_supports does not know f16c
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool HasAvx512() {
#if defined(FRN_ONNX_EMULATE_AVX512)
  return true;
#elif defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

bool Usable(const CpuTarget& target) { return target.kernels != nullptr && target.supported; }

std::string UsableNames() {
  std::string names;
  for (const CpuTarget& target : CpuTargets()) {
    if (Usable(target)) names += (names.empty() ? "" : ", ") + std::string(target.name);
  }
  return names;
}

}  // namespace

const std::vector<CpuTarget>& CpuTargets() {
  static const std::vector<CpuTarget> targets = {
      {"avx512", Avx512Kernels(), HasAvx512()},
      {"avx2", Avx2Kernels(), HasAvx2()},
      {"neon", NeonKernels(), true},
      {"baseline", BaselineKernels(), true},
  };
  return targets;
}

const CpuTarget& SelectCpuTarget() {
  const char* wanted = std::getenv(kVariable);
  for (const CpuTarget& target : CpuTargets()) {
    if (wanted == nullptr || *wanted == '\0') {
      if (Usable(target)) return target;
    } else if (std::string(wanted) == target.name) {
      if (Usable(target)) return target;
      throw FrnError("FRN: " + std::string(kVariable) + "=" + wanted + " names a target " +
                     (target.kernels == nullptr ? "that this build has no kernels for"
                                                : "that this CPU does not support") +
                     "; usable here: " + UsableNames() + ". Unset it to take the best.");
    }
  }
  throw FrnError("FRN: " + std::string(kVariable) + " must be one of " + UsableNames() +
                 ", received '" + wanted + "'. Unset it to take the best.");
}

}  // namespace frn
