// Sums over the blocks of a cluster, which share a plane or a strip (sm_90 and later).
//
// Every block sends its sums to all blocks, and adds what it was sent, in the order of the
// ranks: so all get the same bits, and no thread waits for another block's memory. The
// stores are on their way together, and the one barrier that has memory to order comes after
// them. Nobody touches another block's memory behind it, so blocks may end when they like.

#ifndef FRN_ONNX_CUDA_CLUSTER_CUH_
#define FRN_ONNX_CUDA_CLUSTER_CUH_

#include "cuda/elements.h"

namespace frn::cuda {

// What a kernel begins with that will call SumOverCluster. It tells the other blocks that this
// one has started, before which its shared memory must not be written. No memory was written
// yet that they could read, so the arrival need order none: it is relaxed.
__device__ inline void EnterCluster(int blocks) {
  if (blocks > 1) ArriveClusterRelaxed();
}

// `count` sums at once: thread t < count gives its block's sum t, and thread t returns the
// cluster's sum min(t, count - 1). For clusters of 2 and more, once per kernel. `shared`, in
// shared memory, holds blocks * count floats, and is used for nothing else.
__device__ inline float SumOverCluster(float value, float* shared, int rank, int blocks,
                                       int count) {
  const int thread = static_cast<int>(threadIdx.x);
  WaitCluster();  // for the arrivals of EnterCluster
  if (thread < count) {
#pragma unroll
    for (int peer = 0; peer < kMaxCluster; ++peer) {
      if (peer < blocks) *ClusterPeer(shared + rank * count + thread, peer) = value;
    }
  }
  ArriveCluster();
  WaitCluster();
  const float* sent = shared + Min(thread, count - 1);
  float sum = 0.0f;
#pragma unroll
  for (int peer = 0; peer < kMaxCluster; ++peer) {
    if (peer < blocks) sum += sent[peer * count];
  }
  return sum;
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_CLUSTER_CUH_
