// FRN forward where channels come first and a plane (one sample, one channel) is large.
//
// A block owns a plane, or on sm_90 and later a cluster of up to 16 blocks shares one. Pass 1
// sums x * x and keeps the first `stage` packs in shared memory; pass 2 maps what was kept,
// and reads the rest of the plane once more, while it is still in L2.
//
// Threads: pack i belongs to thread i % threads, in both passes, so a thread meets only what
// it kept itself and the one barrier is that of the sum. The elements before the plane's
// first 16-byte line and after its last go one each to the first threads of the first block.
// Traffic: 1 read and 1 write per element where the plane fits the stage, else up to 2 reads; and
// 1 read of a residual.
// Order of the sum: fixed for one cut. The cut depends on the device alone.

#ifndef FRN_ONNX_CUDA_NCHW_PLANE_CUH_
#define FRN_ONNX_CUDA_NCHW_PLANE_CUH_

#include "cuda/cluster.cuh"

namespace frn::cuda {

template <class T, bool kResidual>
__device__ inline uint4 MapPack(const Affine& map, uint4 pack, uint4 residual) {
  float v[kPackElements<T>], r[kPackElements<T>] = {};
  Unpack<T>(pack, v);
  if constexpr (kResidual) Unpack<T>(residual, r);
#pragma unroll
  for (int e = 0; e < kPackElements<T>; ++e) v[e] = kResidual ? map(v[e], r[e]) : map(v[e]);
  return Repack<T>(v);
}

template <class T, bool kResidual>
__global__ void __launch_bounds__(1024, 1) NchwPlane(KernelParams p, Cut cut) {
  constexpr int kPack = kPackElements<T>;
  EnterCluster(cut.cluster);
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  float* sums = reinterpret_cast<float*>(SharedMemory());  // a float per warp, then per block
  uint4* stage = reinterpret_cast<uint4*>(SharedMemory() + cut.stage_offset);

  const int log2_cluster = Log2(cut.cluster);
  const uint32_t plane = blockIdx.x >> log2_cluster;
  const int rank = static_cast<int>(blockIdx.x) & (cut.cluster - 1);
  const T* x = static_cast<const T*>(p.x) + plane * p.shape.inner;
  T* y = static_cast<T*>(p.y) + plane * p.shape.inner;

  // This block's packs, and the element outside of all packs that is this thread's.
  const Lines lines = Lines::Of<T, kPack>(x, static_cast<int>(p.shape.inner));
  const int share = (lines.packs + cut.cluster - 1) >> log2_cluster;
  const int begin = rank * share;
  const int packs = Min(share, lines.packs - begin);  // none if 0 or less
  const int staged = Min(packs, cut.stage);
  const int offset = lines.head + begin * kPack;
  const uint4* x_packs = reinterpret_cast<const uint4*>(x + offset);

  const Channel channel = LoadChannel<T>(p, Remainder(plane, p.channels));

  // Pass 1.
  float squares = 0.0f;
  for (int i = thread; i < packs; i += kUnroll * threads) {
    uint4 pack[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      pack[u] = Load(x_packs + Min(i + u * threads, packs - 1));
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int k = i + u * threads;
      float v[kPack];
      Unpack<T>(pack[u], v);
      float sum = 0.0f;
#pragma unroll
      for (float element : v) sum = fmaf(element, element, sum);
      if (k < packs) squares += sum;
      if (k < staged) stage[k] = pack[u];
    }
  }
  const int edge = rank == 0 ? static_cast<int>(NotBefore(lines.Edge<kPack>(thread))) : -1;
  float edge_value = 0.0f;
  if (edge >= 0) edge_value = ToFloat(x[edge]);
  squares = fmaf(edge_value, edge_value, squares);
  squares = SumOverBlock(squares, sums);
  if (cut.cluster > 1) {
    squares = SumOverCluster(squares, sums + threads / kWarp, rank, cut.cluster, 1);
  }

  // Pass 2, beginning with what pass 1 read last.
  const Affine map = MapOf<T>(channel, squares, p);
  const auto residual = Residual<T, kResidual>::Of(p, plane * p.shape.inner + offset);
  if (edge >= 0) y[edge] = residual.Map(map, edge_value, edge - offset);
  const bool same_lines = Lead(x) == Lead(y);
  const auto residual_at = [&](int k) {
    return residual.template Load<uint4>(static_cast<int64_t>(k) * kPack);
  };
  const auto store = [&](int k, uint4 pack, uint4 r) {
    pack = MapPack<T, kResidual>(map, pack, r);
    if (same_lines) {
      Store(reinterpret_cast<uint4*>(y + offset) + k, pack);
    } else {
      StoreElements<T>(y + offset + static_cast<int64_t>(k) * kPack, pack);
    }
  };
  // With a residual there are two loads to a pack, and registers for half as many packs.
  constexpr int kLast = kResidual ? kUnroll / 2 : kUnroll;
  for (int i = cut.stage + thread; i < packs; i += kLast * threads) {
    uint4 pack[kLast], r[kLast];
#pragma unroll
    for (int u = 0; u < kLast; ++u) {
      const int k = Min(i + u * threads, packs - 1);
      pack[u] = LoadLast(x_packs + k);
      r[u] = residual_at(k);
    }
#pragma unroll
    for (int u = 0; u < kLast; ++u) {
      if (i + u * threads < packs) store(i + u * threads, pack[u], r[u]);
    }
  }
  constexpr int kAtOnce = Residual<T, kResidual>::kAtOnce;
  for (int i = thread; i < staged; i += kAtOnce * threads) {
    uint4 r[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) r[u] = residual_at(Min(i + u * threads, staged - 1));
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int k = i + u * threads;
      if (u == 0 || k < staged) store(k, stage[k], r[u]);
    }
  }
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_NCHW_PLANE_CUH_
