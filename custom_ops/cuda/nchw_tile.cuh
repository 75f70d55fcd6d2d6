// FRN forward where channels come first and a plane (one sample, one channel) is small.
//
// A block owns `tile_planes` whole planes, one contiguous range, about 12 KB. It copies the
// range to shared memory, sums and maps each plane there, and copies it back, so global
// memory sees nothing but 16-byte lines, whatever the plane's length. The range is laid out
// in shared memory so that its lines are global memory's lines.
//
// Threads: 1. copy in, a pack each; 2. `lanes` threads per plane; 3. copy out, a pack each.
// Traffic: 1 read and 1 write per element. Order of the sum: fixed.

#ifndef FRN_ONNX_CUDA_NCHW_TILE_CUH_
#define FRN_ONNX_CUDA_NCHW_TILE_CUH_

#include "cuda/elements.h"

namespace frn::cuda {

template <class T>
__global__ void __launch_bounds__(256, 4) NchwTile(KernelParams p, Cut cut) {
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int plane_size = static_cast<int>(p.shape.inner);

  const int64_t all_planes = p.shape.batch * p.shape.channels;
  const int64_t first_plane = static_cast<int64_t>(blockIdx.x) * cut.tile_planes;
  const int planes = static_cast<int>(Min<int64_t>(cut.tile_planes, all_planes - first_plane));
  const int count = planes * plane_size;

  const T* x = static_cast<const T*>(p.x) + first_plane * plane_size;
  T* y = static_cast<T*>(p.y) + first_plane * plane_size;
  T* tile = reinterpret_cast<T*>(SharedMemory()) + Lead(x);  // tile[i] is x[i], then y[i]

  const Lines lines = Lines::Of(x, count);
  const int packs = lines.packs;
  const int edge = lines.Edge<T>(thread);
  uint4* tile_packs = reinterpret_cast<uint4*>(tile + lines.head);

  // 1. Copy in. All loads of a round are issued before the first value is used, and clamping the
  // index spares them conditions; tests/cuda_check.py sees to it that this survives the compiler.
  const uint4* x_packs = reinterpret_cast<const uint4*>(x + lines.head);
  for (int i = thread; i < packs; i += kUnroll * threads) {
    uint4 pack[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      pack[u] = LoadLast(x_packs + Min(i + u * threads, packs - 1));
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (i + u * threads < packs) tile_packs[i + u * threads] = pack[u];
    }
  }
  if (edge >= 0) tile[edge] = x[edge];
  SyncBlock();

  // 2. Sum and map. All threads make the same number of rounds: a shuffle takes a whole warp.
  const int lane = thread % cut.lanes;
  const int teams = threads / cut.lanes;
  const uint32_t channels = static_cast<uint32_t>(p.shape.channels);
  const uint32_t first_channel = static_cast<uint32_t>(first_plane % p.shape.channels);
  for (int first = 0; first < planes; first += teams) {
    const int plane = first + thread / cut.lanes;
    const int size = plane < planes ? plane_size : 0;
    T* values = tile + plane * plane_size;
    Channel channel{};
    if (plane < planes) channel = LoadChannel<T>(p, (first_channel + plane) % channels);
    float squares = 0.0f;
#pragma unroll 4
    for (int i = lane; i < size; i += cut.lanes) {
      const float v = ToFloat(values[i]);
      squares = fmaf(v, v, squares);
    }
    squares = SumOverLanes(squares, cut.lanes);
    const Affine map = MapOf<T>(channel, squares, p);
#pragma unroll 4
    for (int i = lane; i < size; i += cut.lanes) {
      values[i] = FromFloat<T>(map(ToFloat(values[i])));
    }
  }
  SyncBlock();

  // 3. Copy out; y's lines are x's lines unless the two pointers disagree.
  if (Lead(y) == Lead(x)) {
    uint4* y_packs = reinterpret_cast<uint4*>(y + lines.head);
    for (int i = thread; i < packs; i += threads) Store(y_packs + i, tile_packs[i]);
    if (edge >= 0) y[edge] = tile[edge];
  } else {
    for (int i = thread; i < count; i += threads) y[i] = tile[i];
  }
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_NCHW_TILE_CUH_
