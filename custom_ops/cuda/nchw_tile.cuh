// FRN forward where channels come first and a plane (one sample, one channel) is small.
//
// A block owns `tile_planes` whole planes, one contiguous range, cut at global memory's 16-byte
// lines, and each of its packs stays in one thread's registers. A pack is no longer than a plane,
// so at most one border between two planes runs through it: it adds one sum to the plane it begins
// in, one to the plane behind the border, both in shared memory. Few threads per plane add these
// up and leave the plane's map; the packs are mapped by one map or two, and stored.
// kSize = 1 is for planes shorter than a pack: every pack is one element.
//
// Threads: pack i belongs to thread i % threads, up to kTilePacks each, all asked for at once; in
// between, `lanes` threads belong to a plane. The elements before the range's first 16-byte line
// and after its last go one each to the first threads. Traffic: 1 read and 1 write per element, and
// 1 read of a residual. Order of the sum: fixed for one alignment of x.

#ifndef FRN_ONNX_CUDA_NCHW_TILE_CUH_
#define FRN_ONNX_CUDA_NCHW_TILE_CUH_

#include "cuda/elements.h"

namespace frn::cuda {

// A plane's map as it lies in shared memory: a pack, for it is loaded at once.
__device__ inline uint4 PackOf(const Affine& map) {
  return {__float_as_uint(map.scale), __float_as_uint(map.shift), __float_as_uint(map.floor), 0};
}
__device__ inline Affine MapIn(uint4 pack) {
  return {__uint_as_float(pack.x), __uint_as_float(pack.y), __uint_as_float(pack.z)};
}

template <class T, int kSize, bool kResidual>
__global__ void __launch_bounds__(kTileThreads, TileBlocks(kResidual))
    NchwTile(KernelParams p, Cut cut) {
  using Vec = typename Vector<T, kSize>::Type;
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  const int plane_size = static_cast<int>(p.shape.inner);

  const int64_t first_plane = static_cast<int64_t>(blockIdx.x) * cut.tile_planes;
  const int planes = static_cast<int>(
      Min<int64_t>(cut.tile_planes, p.shape.batch * p.shape.channels - first_plane));
  const T* x = static_cast<const T*>(p.x) + first_plane * plane_size;
  T* y = static_cast<T*>(p.y) + first_plane * plane_size;
  const Lines lines = Lines::Of<T, kSize>(x, planes * plane_size);
  const int packs = lines.packs;

  // Shared memory: the sums of the packs, where pack i has its own of plane q at i + q, so that no
  // two meet and a plane's lie side by side; the square of each edge; the map of each plane, and
  // one that is loaded in vain where a border is the last plane's.
  float* sums = reinterpret_cast<float*>(SharedMemory());
  uint4* maps = reinterpret_cast<uint4*>(SharedMemory() + cut.stage_offset);
  float* edge_squares = reinterpret_cast<float*>(maps) - 2 * kSize;
  // The plane that a pack begins in, and the elements from there to that plane's end.
  struct Place {
    int plane;
    int border;
  };
  const auto place_of = [&](int pack) {
    const int begin = lines.head + pack * kSize;
    const int plane = SmallQuotient(begin, p.inner);
    return Place{plane, (plane + 1) * plane_size - begin};
  };

  // 1. Load. Every load is issued before the first value is used, and clamping the index spares
  // them conditions; tests/cuda_check.py sees to it that this survives the compiler.
  const Vec* x_packs = reinterpret_cast<const Vec*>(x + lines.head);
  Vec pack[kTilePacks];
  if (packs > 0) {
#pragma unroll
    for (int u = 0; u < kTilePacks; ++u) {
      pack[u] = LoadLast(x_packs + Min(thread + u * threads, packs - 1));
    }
  }
  const int edges = lines.head + lines.tail;
  const int edge = static_cast<int>(NotBefore(lines.Edge<kSize>(thread)));
  T edge_value{};
  if (edge >= 0) edge_value = x[edge];
  const int log2_lanes = Log2(cut.lanes);
  const int lane = thread & (cut.lanes - 1);
  int plane = thread >> log2_lanes;
  const auto load_channel = [&] {
    return plane < planes ? LoadChannel<T>(p, Remainder(first_plane + plane, p.channels))
                          : Channel{};
  };
  Channel channel = load_channel();

  // 2. Sum each pack, up to the border and behind it.
#pragma unroll
  for (int u = 0; u < kTilePacks; ++u) {
    const int i = thread + u * threads;
    if (i >= packs) break;
    const Place place = place_of(i);
    float v[kSize];
    Unpack<T>(pack[u], v);
    float before = v[0] * v[0], behind = 0.0f;
#pragma unroll
    for (int e = 1; e < kSize; ++e) {
      AddSquare(v[e], e < place.border, before, behind);
    }
    float* own = sums + i + place.plane;
    own[0] = before;
    if (place.border < kSize) own[1] = behind;
  }
  if (edge >= 0) edge_squares[thread] = ToFloat(edge_value) * ToFloat(edge_value);
  SyncBlock();

  // 3. Sum each plane. All threads make the same number of rounds: a shuffle takes a whole warp.
  const int teams = threads >> log2_lanes;
  for (int first = 0; first < planes; first += teams) {
    const int begin = plane * plane_size;
    const int end = plane < planes ? begin + plane_size : begin;
    const int last_pack = Min((Max(end - lines.head, 0) + kSize - 1) / kSize, packs);
    float squares = 0.0f;
    for (int i = Max(begin - lines.head, 0) / kSize + lane; i < last_pack; i += 4 * cut.lanes) {
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        const int k = i + u * cut.lanes;
        if (k < last_pack) squares += sums[k + plane];
      }
    }
#pragma unroll 1
    for (int e = lane; e < edges; e += cut.lanes) {
      const int at = lines.Edge<kSize>(e);
      if (at >= begin && at < end) squares += edge_squares[e];
    }
    squares = SumOverLanes(squares, cut.lanes);
    if (lane == 0 && plane < planes) maps[plane] = PackOf(MapOf<T>(channel, squares, p));
    plane += teams;
    if (first + teams < planes) channel = load_channel();
  }
  SyncBlock();

  // 4. Map and store; y's lines are x's lines unless the two pointers disagree.
  const auto residual = Residual<T, kResidual>::Of(p, first_plane * plane_size);
  constexpr int kAtOnce = Residual<T, kResidual>::kAtOnce;
  Vec residuals[kAtOnce];
#pragma unroll
  for (int u = 0; u < kTilePacks; ++u) {
    const int i = thread + u * threads;
    if (i >= packs) break;
    if (u % kAtOnce == 0) {
#pragma unroll
      for (int r = 0; r < kAtOnce; ++r) {
        const int64_t pack = Min(i + r * threads, packs - 1);
        residuals[r] = residual.template Load<Vec>(lines.head + pack * kSize);
      }
    }
    const Place place = place_of(i);
    const Affine before = MapIn(maps[place.plane]);
    const Affine behind = MapIn(maps[place.plane + 1]);
    float v[kSize], r[kSize] = {};
    Unpack<T>(pack[u], v);
    if constexpr (kResidual) Unpack<T>(residuals[u % kAtOnce], r);
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const bool other = e > 0 && e >= place.border;
      float floor = before.floor;
      const float mapped = MapEither(v[e], other, before.scale, before.shift, floor, behind.scale,
                                     behind.shift, behind.floor);
      v[e] = AtLeast(kResidual ? mapped + r[e] : mapped, floor);
    }
    pack[u] = Repack<T>(v);
  }
  const bool same_lines = kSize == 1 || Lead(x) == Lead(y);
  T* y_packs = y + lines.head;
#pragma unroll
  for (int u = 0; u < kTilePacks; ++u) {
    const int i = thread + u * threads;
    if (i >= packs) break;
    if (same_lines) {
      Store(reinterpret_cast<Vec*>(y_packs) + i, pack[u]);
    } else {
      StoreElements<T>(y_packs + i * kSize, pack[u]);
    }
  }
  if (edge >= 0) {
    const Affine map = MapIn(maps[SmallQuotient(edge, p.inner)]);
    y[edge] = residual.Map(map, ToFloat(edge_value), edge);
  }
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_NCHW_TILE_CUH_
