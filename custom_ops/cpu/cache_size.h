// How large the caches are, for what is too large for them.

#ifndef FRN_ONNX_CPU_CACHE_SIZE_H_
#define FRN_ONNX_CPU_CACHE_SIZE_H_

#include <cstdint>

namespace frn {

// Bytes of the L3 that the cores of one complex share, by CPUID; 0 where there is none, or none is
// told of. Not sysconf: on AMD, glibc gives the size of all complexes together.
int64_t L3Bytes();

// From this size on X and Y do not stay in cache side by side, so Y is written past the caches: a
// plain store reads each of its lines from memory first. 3/8 of the L3, measured with 32 MB, some
// of it taken by others: at 12 MB this costs up to a quarter when they are quiet, and saves up to a
// half when they are not. 12 MB where the L3 is not known.
int64_t LargeBytes();

}  // namespace frn

#endif  // FRN_ONNX_CPU_CACHE_SIZE_H_
