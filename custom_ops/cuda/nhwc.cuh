// FRN forward where channels come last.
//
// A block owns a strip of channels, 32 to 128 bytes, of one sample and walks its pixels; on
// sm_90 and later a cluster of up to 8 blocks shares the pixels. Pass 1 sums x * x and keeps
// the first `stage` steps in shared memory; pass 2 maps what was kept, and reads the rest
// once more, while it is still in L2.
//
// Threads: column = thread % strip_columns is the vector of channels, row = thread /
// strip_columns the pixel; a step is one pixel per row. A thread keeps its channels, so the
// affine maps stay in registers, and it meets in shared memory only what it kept itself.
// kSize = 1 is for a channel count or a pointer that is no multiple of 16 bytes: the same
// walk, one element at a time.
// Traffic: 1 read and 1 write per element where the strip fits the stage, else up to 2 reads.
// Order of the sum: fixed for one cut. The cut depends on the device alone.

#ifndef FRN_ONNX_CUDA_NHWC_CUH_
#define FRN_ONNX_CUDA_NHWC_CUH_

#include "cuda/cluster.cuh"

namespace frn::cuda {

// The sums of the strip's channels over the block and its cluster, from each thread's own;
// thread c < strip returns that of channel c. `shared` holds, per channel, a float per warp and
// one per block of the cluster.
template <int kSize>
__device__ inline float SumOverStrip(float (&squares)[kSize], float* shared, int rank,
                                     const Cut& cut) {
  const int thread = static_cast<int>(threadIdx.x);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  const int lane = thread % kWarp;
  const int strip = cut.strip_columns * kSize;

  for (int mask = kWarp / 2; mask >= cut.strip_columns; mask /= 2) {
#pragma unroll
    for (int e = 0; e < kSize; ++e) squares[e] += ShuffleXor(squares[e], mask);
  }
  if (lane < cut.strip_columns) {
    float* own = shared + thread / kWarp * strip + lane * kSize;
#pragma unroll
    for (int e = 0; e < kSize; ++e) own[e] = squares[e];
  }
  SyncBlock();

  float sum = 0.0f;
  if (thread < strip) {
#pragma unroll 4
    for (int warp = 0; warp < warps; ++warp) sum += shared[warp * strip + thread];
  }
  if (cut.cluster == 1) return sum;
  return SumOverCluster(sum, shared + warps * strip, rank, cut.cluster, strip);
}

template <class T, int kSize>
__global__ void __launch_bounds__(512, 2) Nhwc(KernelParams p, Cut cut) {
  using Vec = typename Vector<T, kSize>::Type;
  EnterCluster(cut.cluster);
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int column = thread % cut.strip_columns;
  const int row = thread / cut.strip_columns;
  const int rows = threads / cut.strip_columns;
  const int strip = cut.strip_columns * kSize;  // channels

  // Shared memory: per channel the map; what SumOverStrip needs; the stage.
  Affine* maps = reinterpret_cast<Affine*>(SharedMemory());
  float* sums = reinterpret_cast<float*>(maps + strip);
  Vec* stage = reinterpret_cast<Vec*>(SharedMemory() + cut.stage_offset) + thread;

  const int channels = static_cast<int>(p.shape.channels);
  const uint32_t strips = (channels + strip - 1) / strip;
  const int rank = static_cast<int>(blockIdx.x % cut.cluster);
  const uint32_t block = blockIdx.x / cut.cluster;
  const int64_t sample = block / strips;
  const int first_channel = static_cast<int>(block % strips) * strip;
  const int first_own = first_channel + column * kSize;
  Channel channel{};  // of the channel whose sum and map are this thread's
  if (thread < strip && first_channel + thread < channels) {
    channel = LoadChannel<T>(p, first_channel + thread);
  }

  // This block's pixels; none (0 or less) beyond the last block's, or the last channel.
  const int all_pixels = static_cast<int>(p.shape.outer);
  const int share = (all_pixels + cut.cluster - 1) / cut.cluster;
  const int begin = rank * share;
  const int pixels = first_own < channels ? Min(share, all_pixels - begin) : 0;
  const int64_t offset = (sample * all_pixels + begin) * channels + first_own;
  const T* x = static_cast<const T*>(p.x) + offset;
  T* y = static_cast<T*>(p.y) + offset;
  const auto load_from = [&](int pixel) {
    return reinterpret_cast<const Vec*>(x +
                                        static_cast<int64_t>(Min(pixel, pixels - 1)) * channels);
  };

  // Pass 1. Loads first, at a clamped pixel: see nchw_tile.cuh.
  float squares[kSize] = {};
  for (int step = 0, i = row; i < pixels; step += kUnroll, i += kUnroll * rows) {
    Vec vec[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) vec[u] = Load(load_from(i + u * rows));
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float v[kSize];
      Unpack<T>(vec[u], v);
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        if (i + u * rows < pixels) squares[e] = fmaf(v[e], v[e], squares[e]);
      }
      if (step + u < cut.stage) stage[(step + u) * threads] = vec[u];
    }
  }

  const float sum = SumOverStrip(squares, sums, rank, cut);
  if (thread < strip) maps[thread] = MapOf<T>(channel, sum, p);
  SyncBlock();
  Affine map[kSize];
#pragma unroll
  for (int e = 0; e < kSize; ++e) map[e] = maps[column * kSize + e];

  // Pass 2, beginning with what pass 1 read last.
  const auto store = [&](int pixel, Vec vec) {
    float v[kSize];
    Unpack<T>(vec, v);
#pragma unroll
    for (int e = 0; e < kSize; ++e) v[e] = map[e](v[e]);
    Store(reinterpret_cast<Vec*>(y + static_cast<int64_t>(pixel) * channels), Repack<T>(v));
  };
  for (int i = row + cut.stage * rows; i < pixels; i += kUnroll * rows) {
    Vec vec[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) vec[u] = LoadLast(load_from(i + u * rows));
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (i + u * rows < pixels) store(i + u * rows, vec[u]);
    }
  }
  for (int step = 0, i = row; step < cut.stage && i < pixels; ++step, i += rows) {
    store(i, stage[step * threads]);
  }
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_NHWC_CUH_
