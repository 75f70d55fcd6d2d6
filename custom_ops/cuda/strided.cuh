// FRN forward where channels stand between spatial axes: any (outer, channels, inner).
//
// No network known to us has this layout; the op allows it, so it works, at two plain reads
// and element by element. One block per plane.
//
// Threads: element i of the plane belongs to thread i % threads.
// Traffic: 2 reads and 1 write per element, and 1 read of a residual. Order of the sum: fixed.

#ifndef FRN_ONNX_CUDA_STRIDED_CUH_
#define FRN_ONNX_CUDA_STRIDED_CUH_

#include "cuda/elements.h"

namespace frn::cuda {

template <class T, bool kResidual>
__global__ void __launch_bounds__(256, 4) Strided(KernelParams p, Cut) {
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  float* sums = reinterpret_cast<float*>(SharedMemory());

  const int channels = static_cast<int>(p.shape.channels);
  const int64_t sample = Quotient(blockIdx.x, p.channels);
  const int index = static_cast<int>(blockIdx.x - sample * channels);
  const Channel channel = LoadChannel<T>(p, index);
  const int inner = static_cast<int>(p.shape.inner);
  const int size = static_cast<int>(p.shape.outer * p.shape.inner);
  const auto offset = [&](int i) {
    const int segment = static_cast<int>(Quotient(static_cast<uint32_t>(i), p.inner));
    const int64_t row = (sample * p.shape.outer + segment) * channels + index;
    return row * inner + (i - segment * inner);
  };
  const T* x = static_cast<const T*>(p.x);
  T* y = static_cast<T*>(p.y);

  float squares = 0.0f;
  for (int i = thread; i < size; i += threads) {
    const float v = ToFloat(x[offset(i)]);
    squares = fmaf(v, v, squares);
  }
  const Affine map = MapOf<T>(channel, SumOverBlock(squares, sums), p);
  const auto residual = Residual<T, kResidual>::Of(p, 0);
  for (int i = thread; i < size; i += threads) {
    y[offset(i)] = residual.Map(map, ToFloat(x[offset(i)]), offset(i));
  }
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_STRIDED_CUH_
