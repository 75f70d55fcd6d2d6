// The device operations the kernels are written in. nvcc compiles them to CUDA; with
// FRN_SIMT defined a C++ compiler takes them from the emulator (tests/simt/device.h) instead, and
// the kernels' own source runs on a CPU.

#ifndef FRN_ONNX_CUDA_DEVICE_H_
#define FRN_ONNX_CUDA_DEVICE_H_

#include <cstdint>

#include "cuda/integers.h"
#include "cuda/kernel_params.h"

#ifdef FRN_SIMT
#include "tests/simt/device.h"
#else
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace frn::cuda {

#ifndef FRN_SIMT

// Dynamic shared memory is one array, aligned for packs; each kernel divides it.
extern __shared__ uint4 shared_memory[];
__device__ inline char* SharedMemory() { return reinterpret_cast<char*>(shared_memory); }

__device__ inline void SyncBlock() { __syncthreads(); }
__device__ inline float ShuffleXor(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

// The exponent of a power of two.
__device__ inline int Log2(int power) { return 31 - __clz(power); }
// `value`, which the compiler takes for unknown until here: what is made of it, and would wait, it
// cannot make earlier.
__device__ inline uint32_t NotBefore(uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}
// The upper half of a product.
__device__ inline uint32_t MulHigh(uint32_t a, uint32_t b) { return __umulhi(a, b); }
// The larger of the two; NaN where `v` is NaN, which fmaxf would drop.
__device__ inline float AtLeast(float v, float floor) {
#if __CUDA_ARCH__ >= 800
  float larger;  // one instruction, where a comparison and a selection would be two
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(v), "f"(floor));
  return larger;
#else
  return v < floor ? floor : v;
#endif
}

// One of two sums grows by v * v. Two predicated instructions, where the compiler would make two
// sums and two selections of it.
__device__ inline void AddSquare(float v, bool first, float& sum, float& other) {
  asm("{\n\t"
      ".reg .pred p;\n\t"
      "setp.ne.u32 p, %3, 0;\n\t"
      "@p fma.rn.f32 %0, %2, %2, %0;\n\t"
      "@!p fma.rn.f32 %1, %2, %2, %1;\n\t"
      "}"
      : "+f"(sum), "+f"(other)
      : "f"(v), "r"(static_cast<uint32_t>(first)));
}

// v * scale + shift, with the others where `other`; floor becomes the other one there, too.
__device__ inline float MapEither(float v, bool other, float scale, float shift, float& floor,
                                  float other_scale, float other_shift, float other_floor) {
  float result = fmaf(v, scale, shift);
  asm("{\n\t"
      ".reg .pred p;\n\t"
      "setp.ne.u32 p, %3, 0;\n\t"
      "@p fma.rn.f32 %0, %2, %4, %5;\n\t"
      "selp.f32 %1, %6, %1, p;\n\t"
      "}"
      : "+f"(result), "+f"(floor)
      : "f"(v), "r"(static_cast<uint32_t>(other)), "f"(other_scale), "f"(other_shift),
        "f"(other_floor));
  return result;
}

// Clusters exist from sm_90 on. The planner asks for them only where the kernel in use was
// compiled for that (launch.cc), so elsewhere these are never reached.
__device__ inline void ArriveCluster() {
#if __CUDA_ARCH__ >= 900
  cooperative_groups::this_cluster().barrier_arrive();
#endif
}
// The same for threads with nothing to show to the other blocks: orders no memory.
__device__ inline void ArriveClusterRelaxed() {
#if __CUDA_ARCH__ >= 900
  __cluster_barrier_arrive_relaxed();
#endif
}
__device__ inline void WaitCluster() {
#if __CUDA_ARCH__ >= 900
  cooperative_groups::this_cluster().barrier_wait();
#endif
}
// What `local`, in shared memory, is in block `rank` of this cluster.
__device__ inline float* ClusterPeer(float* local, int rank) {
#if __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().map_shared_rank(local, rank);
#else
  return local;
#endif
}

// Copies from global to shared memory that do not pass through registers (sm_80 and later, 4
// bytes and more): many can be under way. A copy belongs to the group that CommitCopies closes;
// WaitCopies waits for all of the thread's groups but the last kPending. A thread sees what it
// copied itself after its wait; for others to see it takes a barrier. (CUDA's own functions let
// the compiler read shared memory ahead of the wait: they count on that barrier.)
#if __CUDA_ARCH__ >= 800
inline constexpr size_t kLeastCopyBytes = 4;
#else
inline constexpr size_t kLeastCopyBytes = ~size_t{0};  // there are none
#endif
template <class V>
inline constexpr bool kCopiesAsync = sizeof(V) >= kLeastCopyBytes;
template <class V>
__device__ inline void CopyAsync(V* shared, const V* global) {
#if __CUDA_ARCH__ >= 800
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (sizeof(V) == kPackBytes) {
    // Not through L1, where nobody would find it. A narrow strip's neighbour, which another block
    // reads now, lies in the same 128 bytes: L2 is to fetch both at once.
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(global)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], %2;" ::"r"(to), "l"(global),
                 "n"(sizeof(V))
                 : "memory");
  }
#endif
}
__device__ inline void CommitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kPending>
__device__ inline void WaitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

template <class V>
__device__ inline V Load(const V* p) {
  return *p;
}
// The last read of x: its line need not stay in cache.
__device__ inline uint4 LoadLast(const uint4* p) { return __ldcs(p); }
__device__ inline float LoadLast(const float* p) { return __ldcs(p); }
__device__ inline F16 LoadLast(const F16* p) { return {__ldcs(&p->bits)}; }
__device__ inline BF16 LoadLast(const BF16* p) { return {__ldcs(&p->bits)}; }
// y is read by the next layer: default caching.
template <class V>
__device__ inline void Store(V* p, V value) {
  *p = value;
}

__device__ inline float ToFloat(F16 v) { return __half2float(__ushort_as_half(v.bits)); }
__device__ inline F16 ToF16(float v) { return {__half_as_ushort(__float2half_rn(v))}; }
__device__ inline BF16 ToBF16(float v) { return {__bfloat16_as_ushort(__float2bfloat16_rn(v))}; }
// Two elements in one 32-bit word, the first in the low half: one instruction, where two
// single conversions and a merge would be three.
__device__ inline uint32_t ToWord(float first, float second, F16) {
  const __half2 pair = __floats2half2_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ inline uint32_t ToWord(float first, float second, BF16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}

#endif  // FRN_SIMT

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_DEVICE_H_
