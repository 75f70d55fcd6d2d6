// FRN of ONNX Runtime's blocked tensors (NCHWc), float alone. A tensor of shape (N, C, H, W) is in
// memory (N, C / block, H, W, block), with C rounded up: a unit, one block of channels of one
// sample, is computed as a whole (units.h).

#ifndef FRN_ONNX_CPU_BLOCKED_H_
#define FRN_ONNX_CPU_BLOCKED_H_

#include <array>

#include "cpu/executor.h"
#include "cpu/kernels.h"
#include "cpu/parameters.h"
#include "cpu/split.h"

namespace frn {

struct BlockedShape {
  int64_t batch = 0;
  int64_t channels = 0;  // without those that fill the last block
  int64_t pixels = 0;    // H * W
  int64_t block = 0;

  int64_t blocks() const { return CeilDiv(channels, block); }
  int64_t units() const { return batch * blocks(); }
};

// Whether the kernels take this block size.
constexpr bool IsBlock(int64_t block) { return block == 8 || block == 16; }

// As PrepareParameters, with values for the channels that fill the last block up: y is 0 there
// where x and the residual are.
Parameters<float> PrepareBlocked(const FrnParams<float>& params, int64_t channels, int64_t block);

// As ComputeFrn, all tensors blocked.
void ComputeBlocked(const KernelTable& table, const BlockedShape& shape, const float* x,
                    const float* residual, float* y, const Parameters<float>& params,
                    Executor& executor);

// X00, X01, X10 and X11: pixel (2 * h + i, 2 * w + j) of what is normalised is (h, w) of Xij.
using FrnPhases = std::array<const float*, 4>;

// As ComputeBlocked, where x is four tensors of `shape`, `width` pixels wide; y is neither's
// memory.
void ComputeInterleaving(const KernelTable& table, const BlockedShape& shape, int64_t width,
                         const FrnPhases& phases, float* y, const Parameters<float>& params,
                         Executor& executor);

// What becomes of the layout: planes are as (N, C, H, W).
enum class Reorder { kToBlocked, kFromBlocked };

// As ComputeFrn with x in the one layout, y and residual in the other; y is neither's memory.
void ComputeReordering(const KernelTable& table, Reorder reorder, const BlockedShape& shape,
                       const float* x, const float* residual, float* y,
                       const Parameters<float>& params, Executor& executor);

}  // namespace frn

#endif  // FRN_ONNX_CPU_BLOCKED_H_
