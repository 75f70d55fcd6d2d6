// What a kernel is given: the tensors, the shape, and how the work is cut.

#ifndef FRN_ONNX_CUDA_KERNEL_PARAMS_H_
#define FRN_ONNX_CUDA_KERNEL_PARAMS_H_

#include <cstdint>

#include "frn_shape.h"

namespace frn::cuda {

// float16 and bfloat16 as they lie in memory. All arithmetic is float.
struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

enum class ElementType { kFloat, kF16, kBF16 };

inline constexpr int ElementSize(ElementType type) { return type == ElementType::kFloat ? 4 : 2; }

// Division by `divisor`, at least 1, as a multiplication: Quotient in elements.h.
struct FastDivisor {
  uint32_t divisor = 1;
  uint64_t reciprocal = ~uint64_t{0};  // floor((2^64 - 1) / divisor)

  static FastDivisor Of(int64_t divisor) {
    if (divisor == 0) return {};  // of an empty tensor, for which nothing is launched
    return {static_cast<uint32_t>(divisor), ~uint64_t{0} / static_cast<uint64_t>(divisor)};
  }
};

// gamma, beta or tau: one value per channel.
struct ChannelVector {
  const void* values = nullptr;  // on the device; null: the parameter is absent
  bool is_float = false;         // 32-bit floats; otherwise of X's type
};

// How the planner cut the work (planner.h). Each kernel reads the fields named for it.
struct Cut {
  int cluster = 1;        // plane, nhwc: blocks sharing one plane or strip, a power of two
  int stage = 0;          // plane: packs, nhwc: steps, that stay in shared memory between
                          // the two passes; plane: a multiple of the threads
  int stage_offset = 0;   // where in shared memory, in bytes, plane, nhwc: the stage begins;
                          // tile: the maps
  int tile_planes = 0;    // tile: planes a block owns
  int lanes = 0;          // tile: threads that sum one plane; a power of two up to 32
  int strip_columns = 0;  // nhwc: packs a strip is wide; a power of two up to 32
  FastDivisor strips;     // nhwc: strips of a sample
};

struct KernelParams {
  const void* x = nullptr;         // aligned to its element
  const void* residual = nullptr;  // aligned to its element; null: none is added
  void* y = nullptr;               // aligned to its element; may be x or residual
  FrnShape shape;                  // of all three
  FastDivisor channels;            // shape.channels
  FastDivisor inner;               // shape.inner
  ChannelVector gamma;             // never absent
  ChannelVector beta;              // never absent
  ChannelVector tau;               // absent: no threshold
  const float* epsilon = nullptr;  // one per channel, on the device; null: epsilon_value
  float epsilon_value = 0.0f;      // the attribute
  float inverse_spatial = 0.0f;    // 1 / (outer * inner)
};

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_KERNEL_PARAMS_H_
