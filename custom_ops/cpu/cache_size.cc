#include "cpu/cache_size.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace frn {
namespace {

#if defined(__x86_64__) || defined(__i386__)

// AMD tells of its caches in a leaf of its own, in Intel's format.
unsigned CacheLeaf() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kTopologyExtensions = 1u << 22, kAmdLeaf = 0x8000001d, kIntelLeaf = 4;
  const bool amd = __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0 &&
                   (ecx & kTopologyExtensions) != 0 &&
                   __get_cpuid_max(0x80000000, nullptr) >= kAmdLeaf;
  return amd ? kAmdLeaf : kIntelLeaf;
}

int64_t ReadL3Bytes() {
  const unsigned leaf = CacheLeaf();
  for (unsigned i = 0; i < 16; ++i) {
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid_count(leaf, i, &eax, &ebx, &ecx, &edx) == 0) return 0;
    const unsigned type = eax & 31, level = eax >> 5 & 7;
    if (type == 0) return 0;  // no further caches
    if (level != 3) continue;
    const int64_t ways = (ebx >> 22) + 1, partitions = (ebx >> 12 & 1023) + 1;
    const int64_t line = (ebx & 4095) + 1, sets = int64_t{ecx} + 1;
    return ways * partitions * line * sets;
  }
  return 0;
}

#else

int64_t ReadL3Bytes() { return 0; }

#endif

}  // namespace

int64_t L3Bytes() {
  static const int64_t bytes = ReadL3Bytes();
  return bytes;
}

int64_t LargeBytes() {
  constexpr int64_t kUnknown = 12 << 20;
  return L3Bytes() > 0 ? L3Bytes() / 8 * 3 : kUnknown;
}

}  // namespace frn
