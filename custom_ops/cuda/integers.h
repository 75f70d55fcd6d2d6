// Constants and integer arithmetic of the plans.

#ifndef FRN_ONNX_CUDA_INTEGERS_H_
#define FRN_ONNX_CUDA_INTEGERS_H_

#include <cstdint>

namespace frn::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kPackBytes = 16;     // the widest load
inline constexpr int kUnroll = 4;         // packs a thread keeps in flight
inline constexpr int kTilePacks = 8;      // NchwTile: packs a thread owns, all in flight at once
inline constexpr int kTileThreads = 128;  // NchwTile: of a block, at most
// Blocks of NchwTile for which an SM has registers. A residual takes 16 to a thread.
inline constexpr int TileBlocks(bool residual) { return residual ? 6 : 8; }
inline constexpr int kMaxCluster =
    16;  // blocks that share a plane or strip; more than 8 is not portable

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }
constexpr int64_t PowerOfTwoAtLeast(int64_t value) {
  int64_t power = 1;
  while (power < value) power *= 2;
  return power;
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_INTEGERS_H_
