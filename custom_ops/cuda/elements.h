// Elements, packs and the formula: what the kernels have in common.

#ifndef FRN_ONNX_CUDA_ELEMENTS_H_
#define FRN_ONNX_CUDA_ELEMENTS_H_

#include "cuda/device.h"

namespace frn::cuda {

template <class T>
inline constexpr int kPackElements = kPackBytes / static_cast<int>(sizeof(T));

template <class I>
__device__ constexpr I Min(I a, I b) {
  return b < a ? b : a;
}

template <class I>
__device__ constexpr I Max(I a, I b) {
  return a < b ? b : a;
}

__device__ inline float ToFloat(float v) { return v; }
__device__ inline float ToFloat(BF16 v) {
  return __uint_as_float(static_cast<uint32_t>(v.bits) << 16);
}

template <class T>
__device__ inline T FromFloat(float v);
template <>
__device__ inline float FromFloat<float>(float v) {
  return v;
}
template <>
__device__ inline F16 FromFloat<F16>(float v) {
  return ToF16(v);
}
template <>
__device__ inline BF16 FromFloat<BF16>(float v) {
  return ToBF16(v);
}

__device__ inline uint32_t Upper(FastDivisor d) {
  return static_cast<uint32_t>(d.reciprocal >> 32);
}
// n / d, for n below 2^32 - 1. With r = (2^64 - 1) mod d, the product below is (n + 1) / d less
// (n + 1) * (r + 1) / (d * 2^64), which is more than 0 and at most 1 / d: exact.
__device__ inline uint32_t Quotient(uint32_t n, FastDivisor d) {
  const uint32_t low = MulHigh(n + 1, static_cast<uint32_t>(d.reciprocal));
  return static_cast<uint32_t>((uint64_t{n + 1} * Upper(d) + low) >> 32);
}
// The same with half of the reciprocal, where (n + 1) * d is at most 2^32.
__device__ inline int SmallQuotient(int n, FastDivisor d) {
  return static_cast<int>(MulHigh(static_cast<uint32_t>(n) + 1, Upper(d)));
}
__device__ inline uint32_t Remainder(uint32_t n, FastDivisor d) {
  return n - Quotient(n, d) * d.divisor;
}
// For any n where (n + 1) * d is at most 2^64.
__device__ inline uint32_t Remainder(int64_t n, FastDivisor d) {
  const auto product = static_cast<unsigned __int128>(n + 1) * d.reciprocal;
  return static_cast<uint32_t>(n) - static_cast<uint32_t>(product >> 64) * d.divisor;
}

// What a thread loads and stores at once: a pack or, for kSize = 1, a single element.
template <class T, int kSize>
struct Vector {
  using Type = uint4;
};
template <class T>
struct Vector<T, 1> {
  using Type = T;
};

template <class T>
__device__ inline void Unpack(uint4 pack, float (&v)[kPackElements<T>]) {
  const uint32_t words[4] = {pack.x, pack.y, pack.z, pack.w};
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    if constexpr (sizeof(T) == 4) {
      v[w] = __uint_as_float(words[w]);
    } else {
      v[2 * w] = ToFloat(T{static_cast<uint16_t>(words[w])});
      v[2 * w + 1] = ToFloat(T{static_cast<uint16_t>(words[w] >> 16)});
    }
  }
}
template <class T>
__device__ inline void Unpack(T element, float (&v)[1]) {
  v[0] = ToFloat(element);
}

template <class T>
__device__ inline uint4 Repack(const float (&v)[kPackElements<T>]) {
  uint32_t words[4];
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    if constexpr (sizeof(T) == 4) {
      words[w] = __float_as_uint(v[w]);
    } else {
      words[w] = ToWord(v[2 * w], v[2 * w + 1], T{});
    }
  }
  return {words[0], words[1], words[2], words[3]};
}
template <class T>
__device__ inline T Repack(const float (&v)[1]) {
  return FromFloat<T>(v[0]);
}

// The elements of a pack, each on its own: they need not begin on a 16-byte line.
template <class T>
__device__ inline uint4 LoadElements(const T* p) {
  float v[kPackElements<T>];
#pragma unroll
  for (int e = 0; e < kPackElements<T>; ++e) v[e] = ToFloat(p[e]);
  return Repack<T>(v);
}
template <class T>
__device__ inline void StoreElements(T* y, uint4 pack) {
  float v[kPackElements<T>];
  Unpack<T>(pack, v);
#pragma unroll
  for (int e = 0; e < kPackElements<T>; ++e) y[e] = FromFloat<T>(v[e]);
}
template <class T>
__device__ inline void StoreElements(T* y, T element) {
  *y = element;
}

// How many elements p lies behind the 16-byte line it is in.
template <class T>
__device__ inline int Lead(const T* p) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(p) % kPackBytes / sizeof(T));
}

// A run of elements divided at 16-byte lines: `head` elements, `packs` whole packs, `tail`
// elements; head and tail are shorter than a pack.
struct Lines {
  int head;
  int packs;
  int tail;

  // With kSize = 1 every element is a pack.
  template <class T, int kSize>
  __device__ static Lines Of(const T* begin, int count) {
    if constexpr (kSize == 1) return {0, count, 0};
    const int head =
        Min(static_cast<int>(-static_cast<unsigned>(Lead(begin)) % unsigned{kSize}), count);
    const unsigned rest = static_cast<unsigned>(count - head);
    return {head, static_cast<int>(rest / kSize), static_cast<int>(rest % kSize)};
  }

  // The `thread`-th element that is in no whole pack, as an offset from the run's begin;
  // -1 where there are fewer.
  template <int kSize>
  __device__ int Edge(int thread) const {
    if (thread >= head + tail) return -1;
    return thread < head ? thread : thread + packs * kSize;
  }
};

// y = max(scale * x + shift, floor).
struct Affine {
  float scale;
  float shift;
  float floor;

  __device__ float operator()(float x) const { return AtLeast(fmaf(scale, x, shift), floor); }
  __device__ float operator()(float x, float residual) const {
    return AtLeast(fmaf(scale, x, shift) + residual, floor);
  }
};

// The residual, from its element for the first one of a run of x on; or none.
//
// Where y is the residual, the compiler keeps every load of it behind the stores that precede it.
// So the kernels ask for the residuals of several vectors, kAtOnce, before they store any.
template <class T, bool kThere>
struct Residual {
  static constexpr int kAtOnce = kThere ? 4 : 1;

  const T* values;
  bool same_lines;  // as x's: packs may be loaded at once

  // x as from p.x + offset on.
  __device__ static Residual Of(const KernelParams& p, int64_t offset) {
    if constexpr (!kThere) return {};
    const T* values = static_cast<const T*>(p.residual) + offset;
    return {values, Lead(static_cast<const T*>(p.x) + offset) == Lead(values)};
  }

  // y of one element, the i-th of the run.
  __device__ T Map(const Affine& map, float x, int64_t i) const {
    if constexpr (!kThere) return FromFloat<T>(map(x));
    return FromFloat<T>(map(x, ToFloat(values[i])));
  }

  // The vector that begins at the i-th element of the run, where all are aligned.
  template <class Vec>
  __device__ Vec LoadAligned(int64_t i) const {
    if constexpr (!kThere) return {};
    return LoadLast(reinterpret_cast<const Vec*>(values + i));
  }
  template <class Vec>
  __device__ Vec Load(int64_t i) const {
    if constexpr (kThere && sizeof(Vec) > sizeof(T)) {
      if (!same_lines) return LoadElements(values + i);
    }
    return LoadAligned<Vec>(i);
  }
};

// The parameters of one channel as they lie in memory: 32 bits or, of a half type, 16. To widen one
// is to wait for it, so MapOf does that, and the kernel has asked for x by then.
struct Channel {
  uint32_t gamma;
  uint32_t beta;
  uint32_t tau;   // 0 where there is none
  float epsilon;  // 0 where there is one for all channels
};

template <class T>
__device__ inline uint32_t LoadBits(ChannelVector vector, uint32_t channel) {
  if constexpr (sizeof(T) == 2) {
    if (!vector.is_float) return static_cast<const T*>(vector.values)[channel].bits;
  }
  return static_cast<const uint32_t*>(vector.values)[channel];
}

template <class T>
__device__ inline float Widen(ChannelVector vector, uint32_t bits) {
  bits = NotBefore(bits);
  if constexpr (sizeof(T) == 2) {
    if (!vector.is_float) return ToFloat(T{static_cast<uint16_t>(bits)});
  }
  return __uint_as_float(bits);
}

template <class T>
__device__ inline Channel LoadChannel(const KernelParams& p, uint32_t channel) {
  return {LoadBits<T>(p.gamma, channel), LoadBits<T>(p.beta, channel),
          p.tau.values ? LoadBits<T>(p.tau, channel) : 0, p.epsilon ? p.epsilon[channel] : 0.0f};
}

// The map of one channel of one sample, from the sum of x * x over its plane.
template <class T>
__device__ inline Affine MapOf(const Channel& c, float squares, const KernelParams& p) {
  const float epsilon = p.epsilon ? c.epsilon : p.epsilon_value;
  Affine map;
  map.scale = Widen<T>(p.gamma, c.gamma) * rsqrtf(fmaf(squares, p.inverse_spatial, epsilon));
  map.shift = Widen<T>(p.beta, c.beta);
  map.floor = p.tau.values ? Widen<T>(p.tau, c.tau) : -INFINITY;
  if (map.floor != map.floor) map.shift = map.floor;  // a NaN tau makes y NaN, as Max in ONNX
  return map;
}

// The sum of `value` over runs of `lanes` threads, in each of them.
__device__ inline float SumOverLanes(float value, int lanes) {
  for (int mask = lanes / 2; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}

// The sum of `value` over a block, in every thread. `sums`, in shared memory, holds a float
// per warp.
__device__ inline float SumOverBlock(float value, float* sums) {
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  value = SumOverLanes(value, kWarp);
  if (lane == 0) sums[threadIdx.x / kWarp] = value;
  SyncBlock();
  return SumOverLanes(lane < warps ? sums[lane] : 0.0f, kWarp);
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_ELEMENTS_H_
