// Which kernel a plan stands for: the list of all instantiations.

#ifndef FRN_ONNX_CUDA_KERNELS_H_
#define FRN_ONNX_CUDA_KERNELS_H_

#include "cuda/nchw_plane.cuh"
#include "cuda/nchw_tile.cuh"
#include "cuda/nhwc.cuh"
#include "cuda/planner.h"
#include "cuda/strided.cuh"

namespace frn::cuda {

using KernelFunction = void (*)(KernelParams, Cut);

template <class T>
KernelFunction KernelOf(Kernel kernel) {
  switch (kernel) {
    case Kernel::kNchwTile:
      return NchwTile<T, kPackElements<T>>;
    case Kernel::kNchwTileScalar:
      return NchwTile<T, 1>;
    case Kernel::kNchwPlane:
      return NchwPlane<T>;
    case Kernel::kNhwc:
      return Nhwc<T, kPackElements<T>>;
    case Kernel::kNhwcScalar:
      return Nhwc<T, 1>;
    case Kernel::kStrided:
      return Strided<T>;
  }
  return nullptr;
}

inline KernelFunction KernelOf(Kernel kernel, ElementType type) {
  switch (type) {
    case ElementType::kFloat:
      return KernelOf<float>(kernel);
    case ElementType::kF16:
      return KernelOf<F16>(kernel);
    case ElementType::kBF16:
      return KernelOf<BF16>(kernel);
  }
  return nullptr;
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_KERNELS_H_
