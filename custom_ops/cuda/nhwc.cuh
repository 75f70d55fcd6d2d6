// FRN forward where channels come last.
//
// A block owns a strip of channels, 32 to 128 bytes, of one sample and walks its pixels; on
// sm_90 and later a cluster of up to 16 blocks shares the pixels. Pass 1 sums x * x and keeps
// the first `stage` steps in shared memory; pass 2 maps what was kept, and reads the rest
// once more, while it is still in L2.
//
// Threads: column = thread % strip_columns is the vector of channels, row = thread /
// strip_columns the pixel; a step is one pixel per row. A thread keeps its channels, so the
// affine maps stay in registers, and it meets in shared memory only what it kept itself:
// from sm_80 on it copies asynchronously, kAhead batches of steps ahead of the sum, and
// waits for its own copies without a barrier.
// kSize = 1 is for a channel count or a pointer that is no multiple of 16 bytes: the same
// walk, one element at a time, and more of them at once.
// Traffic: 1 read and 1 write per element where the strip fits the stage, else up to 2 reads; and
// 1 read of a residual.
// Order of the sum: fixed for one cut. The cut depends on the device alone.

#ifndef FRN_ONNX_CUDA_NHWC_CUH_
#define FRN_ONNX_CUDA_NHWC_CUH_

#include "cuda/cluster.cuh"

namespace frn::cuda {

// Adds the squares of a vector, if it counts: a select costs no instruction, a branch would.
template <class T, class Vec, int kSize>
__device__ inline void AddSquares(Vec vec, bool counts, float (&squares)[kSize]) {
  float v[kSize];
  Unpack<T>(vec, v);
#pragma unroll
  for (int e = 0; e < kSize; ++e) {
    if (counts) squares[e] = fmaf(v[e], v[e], squares[e]);
  }
}

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

// Steps whose loads or copies a thread issues together: at least four, and 32 bytes.
template <class Vec>
inline constexpr int kBatchOf =
    sizeof(Vec) < 32 / kUnroll ? 32 / static_cast<int>(sizeof(Vec)) : kUnroll;
// Batches that are copied ahead of the one being summed.
inline constexpr int kAhead = 4;

template <class T, int kSize, bool kResidual>
__global__ void __launch_bounds__(512, 2) Nhwc(KernelParams p, Cut cut) {
  using Vec = typename Vector<T, kSize>::Type;
  constexpr int kBatch = kBatchOf<Vec>;
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int columns_log2 = Log2(cut.strip_columns);
  const int column = thread & (cut.strip_columns - 1);
  const int row = thread >> columns_log2;
  const int rows = threads >> columns_log2;
  const int strip = cut.strip_columns * kSize;  // channels, a power of two

  // Shared memory: per channel the map; what SumOverStrip needs; the stage.
  Affine* maps = reinterpret_cast<Affine*>(SharedMemory());
  float* sums = reinterpret_cast<float*>(maps + strip);
  Vec* stage = reinterpret_cast<Vec*>(SharedMemory() + cut.stage_offset) + thread;

  const int channels = static_cast<int>(p.shape.channels);
  const int cluster_log2 = Log2(cut.cluster);
  const int rank = static_cast<int>(blockIdx.x) & (cut.cluster - 1);
  const uint32_t block = blockIdx.x >> cluster_log2;
  const uint32_t sample = Quotient(block, cut.strips);
  const int first_channel = static_cast<int>(block - sample * cut.strips.divisor) * strip;
  const int first_own = first_channel + column * kSize;

  // This block's pixels; none (0 or less) beyond the last block's, or the last channel.
  const int all_pixels = static_cast<int>(p.shape.outer);
  const int share = (all_pixels + cut.cluster - 1) >> cluster_log2;
  const int begin = rank * share;
  const int pixels = first_own < channels ? Min(share, all_pixels - begin) : 0;
  const auto elements = [&](int64_t count) { return count * static_cast<uint32_t>(channels); };
  const int64_t offset = elements(static_cast<int64_t>(sample) * all_pixels + begin) + first_own;
  const T* x = static_cast<const T*>(p.x) + offset;
  T* y = static_cast<T*>(p.y) + offset;
  const auto source = [&](int pixel) {
    return reinterpret_cast<const Vec*>(x + elements(static_cast<uint32_t>(pixel)));
  };

  // Copies to the stage, ahead of everything: neither parameters nor sums are waited for.
  const int staged = Min(pixels, cut.stage * rows);
  const int64_t stride = elements(static_cast<uint32_t>(rows));
  int copied = row;  // the pixel to copy next
  const T* from = x + elements(static_cast<uint32_t>(row));
  Vec* to = stage;
  const auto copy_batch = [&](int step) {  // a group, though it may be empty
    if (step < cut.stage) {
#pragma unroll
      for (int u = 0; u < kBatch; ++u, copied += rows, from += stride, to += threads) {
        if (copied < staged) CopyAsync(to, reinterpret_cast<const Vec*>(from));
      }
    }
    CommitCopies();
  };
  if constexpr (kCopiesAsync<Vec>) {
    for (int batch = 0; batch < kAhead; ++batch) copy_batch(batch * kBatch);
  }
  EnterCluster(cut.cluster);

  Channel channel{};  // of the channel whose sum and map are this thread's
  if (thread < strip && first_channel + thread < channels) {
    channel = LoadChannel<T>(p, first_channel + thread);
  }

  // Pass 1.
  float squares[kSize] = {};
  if constexpr (kCopiesAsync<Vec>) {
    const Vec* arrived = stage;
    for (int step = 0, i = row; step < cut.stage;
         step += kBatch, i += kBatch * rows, arrived += kBatch * threads) {
      copy_batch(step + kAhead * kBatch);
      WaitCopies<kAhead>();
      Vec vec[kBatch] = {};
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (i + u * rows < staged) vec[u] = arrived[u * threads];
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) AddSquares<T>(vec[u], true, squares);
    }
  }
  // What is not copied is loaded. Loads first, at a clamped pixel: see nchw_tile.cuh.
  const int first = kCopiesAsync<Vec> ? cut.stage : 0;
  for (int step = first, i = row + first * rows; i < pixels; step += kBatch, i += kBatch * rows) {
    Vec vec[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) vec[u] = Load(source(Min(i + u * rows, pixels - 1)));
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      AddSquares<T>(vec[u], i + u * rows < pixels, squares);
      if constexpr (!kCopiesAsync<Vec>) {
        if (step + u < cut.stage) stage[(step + u) * threads] = vec[u];
      }
    }
  }

  const float sum = SumOverStrip(squares, sums, rank, cut);
  if (thread < strip) maps[thread] = MapOf<T>(channel, sum, p);
  SyncBlock();
  Affine map[kSize];
#pragma unroll
  for (int e = 0; e < kSize; ++e) map[e] = maps[column * kSize + e];

  // Pass 2, beginning with what pass 1 read last.
  const auto residual = Residual<T, kResidual>::Of(p, offset);
  const auto residual_at = [&](int pixel) {
    return residual.template LoadAligned<Vec>(elements(static_cast<uint32_t>(pixel)));
  };
  const auto store = [&](int pixel, Vec vec, Vec residual_vec) {
    float v[kSize], r[kSize] = {};
    Unpack<T>(vec, v);
    if constexpr (kResidual) Unpack<T>(residual_vec, r);
#pragma unroll
    for (int e = 0; e < kSize; ++e) v[e] = kResidual ? map[e](v[e], r[e]) : map[e](v[e]);
    Store(reinterpret_cast<Vec*>(y + elements(static_cast<uint32_t>(pixel))), Repack<T>(v));
  };
  // With a residual there are two loads to a step, and registers for half as many steps.
  constexpr int kLast = kResidual ? kBatch / 2 : kBatch;
  for (int i = row + cut.stage * rows; i < pixels; i += kLast * rows) {
    Vec vec[kLast], r[kLast];
#pragma unroll
    for (int u = 0; u < kLast; ++u) {
      const int pixel = Min(i + u * rows, pixels - 1);
      vec[u] = LoadLast(source(pixel));
      r[u] = residual_at(pixel);
    }
#pragma unroll
    for (int u = 0; u < kLast; ++u) {
      if (i + u * rows < pixels) store(i + u * rows, vec[u], r[u]);
    }
  }
  // The maps of eight channels leave registers for one residual fewer.
  constexpr int kAtOnce = !kResidual ? 1 : kSize == 8 ? kBatch - 1 : kBatch;
  for (int step = 0, i = row; i < staged; step += kAtOnce, i += kAtOnce * rows) {
    Vec r[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) r[u] = residual_at(Min(i + u * rows, staged - 1));
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      if (u == 0 || i + u * rows < staged) {
        store(i + u * rows, stage[(step + u) * threads], r[u]);
      }
    }
  }
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_NHWC_CUH_
