// All instantiations of the kernels, and nothing else: what nvcc and its host compiler make of this
// file needs no C++ library, so that the rest may be compiled by another compiler, with a library
// of its own.

#include "cuda/kernels.h"
#include "cuda/nchw_plane.cuh"
#include "cuda/nchw_tile.cuh"
#include "cuda/nhwc.cuh"
#include "cuda/strided.cuh"

namespace frn::cuda {
namespace {

template <class T, bool kResidual>
KernelFunction KernelOf(Kernel kernel) {
  switch (kernel) {
    case Kernel::kNchwTile:
      return NchwTile<T, kPackElements<T>, kResidual>;
    case Kernel::kNchwTileScalar:
      return NchwTile<T, 1, kResidual>;
    case Kernel::kNchwPlane:
      return NchwPlane<T, kResidual>;
    case Kernel::kNhwc:
      return Nhwc<T, kPackElements<T>, kResidual>;
    case Kernel::kNhwcScalar:
      return Nhwc<T, 1, kResidual>;
    case Kernel::kStrided:
      return Strided<T, kResidual>;
  }
  return nullptr;
}

template <class T>
KernelFunction KernelOf(Kernel kernel, bool residual) {
  return residual ? KernelOf<T, true>(kernel) : KernelOf<T, false>(kernel);
}

}  // namespace

KernelFunction KernelOf(Kernel kernel, ElementType type, bool residual) {
  switch (type) {
    case ElementType::kFloat:
      return KernelOf<float>(kernel, residual);
    case ElementType::kF16:
      return KernelOf<F16>(kernel, residual);
    case ElementType::kBF16:
      return KernelOf<BF16>(kernel, residual);
  }
  return nullptr;
}

}  // namespace frn::cuda
