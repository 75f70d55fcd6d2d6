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

#if defined(__x86_64__) || defined(__i386__)
// What both the CPU and the system say. By hand, because __builtin_cpu_supports reads what not
// every compiler's runtime has filled in (zig's has not), and Clang's does not know f16c.
struct Features {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ and VL
  bool zen4 = false;    // AMD's first with AVX-512

  Features() {
    constexpr unsigned kLeaf1 = bit_FMA | bit_F16C | bit_AVX | bit_OSXSAVE;
    constexpr unsigned kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    constexpr unsigned kYmmState = 0x6, kZmmState = 0xe6;
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kLeaf1) != kLeaf1) return;
    const unsigned family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);
    __get_cpuid(0, &eax, &ebx, &ecx, &edx);
    const bool amd = ebx == signature_AMD_ebx;
    unsigned saved, high;  // the registers that the system saves
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return;
    avx2 = (saved & kYmmState) == kYmmState && (ebx & bit_AVX2) != 0;
    avx512 = avx2 && (saved & kZmmState) == kZmmState && (ebx & kAvx512) == kAvx512;
    zen4 = avx512 && amd && family == 0x19;  // Zen 3 is of that family, too
  }
};
#else
struct Features {
  bool avx2 = false;
  bool avx512 = false;
  bool zen4 = false;
};
#endif

bool HasAvx2() { return Features().avx2; }

bool HasAvx512() {
#if defined(FRN_ONNX_EMULATE_AVX512)
  return true;
#else
  return Features().avx512;
#endif
}

template <class T>
void TakePlanes(const Kernels<T>& from, Kernels<T>* to) {
  to->sum_planes = from.sum_planes;
  to->apply_planes = from.apply_planes;
  to->sum_planes_scaled = from.sum_planes_scaled;
  to->apply_planes_scaled = from.apply_planes_scaled;
}

// Zen 4 takes 512 bits in halves: no more elements in a cycle than with 256, and more lanes with
// nothing to do behind a plane's last whole register. So planes are AVX2's there, but for those of
// bfloat16, for which AVX-512 has instructions that AVX2 has not.
const KernelTable* Zen4Kernels() {
  if (Avx512Kernels() == nullptr || Avx2Kernels() == nullptr) return nullptr;
  static const KernelTable table = [] {
    KernelTable mixed = *Avx512Kernels();
    TakePlanes<float>(*Avx2Kernels(), &mixed);
    TakePlanes<double>(*Avx2Kernels(), &mixed);
    TakePlanes<F16>(*Avx2Kernels(), &mixed);
    return mixed;
  }();
  return &table;
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
      {"zen4", Zen4Kernels(), Features().zen4},  // which has AVX-512, too
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
