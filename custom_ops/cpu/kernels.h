// The loops that depend on the instruction set, as tables of plain functions. Everything else of
// the CPU kernel (splitting the work, checking, threads) is compiled once: frn_cpu.cc.

#ifndef FRN_ONNX_CPU_KERNELS_H_
#define FRN_ONNX_CPU_KERNELS_H_

#include <cstdint>
#include <type_traits>

#include "cpu/element.h"

namespace frn {

// Sums: squares are added in T's compute type over short blocks, and the blocks in double (see
// kernels_inl.h). y may be the same memory as x or residual; none needs alignment. A residual is
// added element by element before tau; nullptr: none. NaN in a parameter is
// the quiet one without payload: rounding to bfloat16 could carry a long payload into the exponent.
// large: the tensor does not fit in the caches, so keep to the order of memory, and write y past
// the caches. ahead: what is `ahead` elements behind x is wanted next; if large, it is prefetched
// while x is normalised, so that memory is read while it is written.
template <class T>
struct Kernels {
  using A = ComputeType<T>;

  // Rows of exactly so many columns are the fastest: what belongs to a column stays in registers.
  int64_t narrow_columns;
  int64_t lanes() const { return narrow_columns / 4; }  // of a vector

  // `planes` runs of n adjacent elements, one behind the other: sums[p] += sum of x[p * n + i]^2.
  void (*sum_planes)(const T* x, int64_t planes, int64_t n, double* sums);

  // y[p * n + i] = max(x[p * n + i] * scale[p] + shift[p] + residual[p * n + i], tau[p])
  void (*apply_planes)(const T* x, const T* residual, T* y, int64_t planes, int64_t n,
                       int64_t ahead, const A* scale, const A* shift, const A* tau, bool large);

  // `rows` rows of `cols` <= kMaxColumns elements, `stride` elements apart:
  // sums[c] += sum of x[r * stride + c]^2.
  void (*sum_rows)(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums,
                   bool large);

  // with i = r * stride + c: y[i] = max(x[i] * scale[c] + shift[c] + residual[i], tau[c])
  void (*apply_rows)(const T* x, const T* residual, T* y, int64_t rows, int64_t cols,
                     int64_t stride, int64_t ahead, const A* scale, const A* shift, const A* tau,
                     bool large);

  // As the four above, of x * factor in place of x, and of x * factor * factor where it is
  // normalised, with one factor for each plane or column, a power of two: for squares, and scales,
  // that leave the range of A. Never past the caches.
  void (*sum_planes_scaled)(const T* x, int64_t planes, int64_t n, const A* factor, double* sums);
  void (*apply_planes_scaled)(const T* x, const T* residual, T* y, int64_t planes, int64_t n,
                              const A* factor, const A* scale, const A* shift, const A* tau);
  void (*sum_rows_scaled)(const T* x, int64_t rows, int64_t cols, int64_t stride, const A* factor,
                          double* sums);
  void (*apply_rows_scaled)(const T* x, const T* residual, T* y, int64_t rows, int64_t cols,
                            int64_t stride, const A* factor, const A* scale, const A* shift,
                            const A* tau);

  // scale[c] = gamma[c] / sqrt(sums[c] * inverse_size + epsilon[c]). False if for some c that is
  // not to be relied on: the radicand is outside [kTrustedMin, kTrustedMax], so that squares may
  // have under- or overflowed; or scale[c] is no normal number, with a gamma[c] that is not 0.
  bool (*scales)(const double* sums, int64_t n, double inverse_size, const A* gamma,
                 const A* epsilon, A* scale);

  // Where scales is false. factor[c] is what the squares of channel c ask for, before they are
  // summed again: 1 where their sum can be relied on. False if all are 1.
  bool (*sum_factors)(const double* sums, int64_t n, double inverse_size, const A* epsilon,
                      A* factor);

  // As scales, from sums of squares of x * factor[c], for any numbers: scale[c] is a float that
  // rounds as it should, or 0, infinite or NaN, and belongs to x * factor[c] * factor[c] with a new
  // factor; that and scale[c] depend on channel c alone. False if the factors are all 1.
  bool (*wide_scales)(const double* sums, int64_t n, double inverse_size, const A* gamma,
                      const A* epsilon, A* factor, A* scale);

  // The whole of FRN where a plane is one element: `rows` samples of `cols` channels.
  void (*apply_single)(const T* x, const T* residual, T* y, int64_t rows, int64_t cols,
                       const A* gamma, const A* beta, const A* tau, const A* epsilon);

  // The whole of FRN for `samples` samples of `rows` <= kFewRows rows of `cols` columns.
  void (*apply_few_rows)(const T* x, const T* residual, T* y, int64_t samples, int64_t rows,
                         int64_t cols, const A* gamma, const A* beta, const A* tau,
                         const A* epsilon);

  // The whole of FRN for `planes` planes of n <= kSmallPlane adjacent elements, one behind the
  // other.
  void (*apply_small_planes)(const T* x, const T* residual, T* y, int64_t planes, int64_t n,
                             const A* gamma, const A* beta, const A* tau, const A* epsilon,
                             bool large);

  // out[i] = x[i], in the type that is computed with.
  void (*widen)(const T* x, int64_t n, A* out);

  // To be called by a thread after the last apply_*(..., large = true), before others read y.
  void (*fence)();
};

constexpr int64_t kMaxColumns = 1024;
constexpr int64_t kFewRows = 128;
constexpr int64_t kSmallPlane = 256;

// Below, squares of floats are subnormal and lose bits; above, the radicand is no float.
constexpr double kTrustedMin = 0x1p-100;
constexpr double kTrustedMax = 0x1p126;
constexpr float kMinNormal = 0x1p-126f;
constexpr float kMaxFloat = 0x1.fffffep127f;

// Factors for planes whose mean square is above, or below: times kHuge the squares of all floats
// are finite and those that count are normal, times kTiny those of all floats are normal, and
// finite where the mean is below kTrustedMin.
constexpr double kHuge = 0x1p-70;
constexpr double kTiny = 0x1p96;

// Whether no square of a T over- or underflows in the compute type, as far as there is a wider one.
template <class T>
constexpr bool kSquaresFit = std::is_same_v<T, F16> || std::is_same_v<T, double>;

template <class List>
struct KernelsOfTypes;
template <class... T>
struct KernelsOfTypes<TypeList<T...>> : Kernels<T>... {};

// One target's kernels for every element type.
struct KernelTable : KernelsOfTypes<ElementTypes> {
  // As sum_rows and apply_rows, or with a factor as those that are scaled, for `pixels` rows of
  // `block` columns, 8 or 16, one behind the other.
  void (*sum_pixels)(const float* x, int64_t pixels, int64_t block, const float* factor,
                     double* sums);
  void (*apply_pixels)(const float* x, const float* residual, float* y, int64_t pixels,
                       int64_t block, const float* factor, const float* scale, const float* shift,
                       const float* tau, bool large);

  // out[c * out_stride + r] = in[r * in_stride + c] for r < rows and c < cols
  void (*transpose)(const float* in, int64_t rows, int64_t cols, int64_t in_stride, float* out,
                    int64_t out_stride);
};

template <class T>
const Kernels<T>& KernelsOf(const KernelTable& table, T) {
  return table;
}

// nullptr where the compiler had no such target.
const KernelTable* BaselineKernels();
const KernelTable* Avx2Kernels();
const KernelTable* Avx512Kernels();
const KernelTable* NeonKernels();

}  // namespace frn

#endif  // FRN_ONNX_CPU_KERNELS_H_
