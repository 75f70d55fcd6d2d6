// One node of the internal domain, which works on ONNX Runtime's blocked tensors (cpu/blocked.h):
// what is known when the session is created, and the tensors of a run.

#ifndef FRN_ONNX_BLOCKED_NODE_H_
#define FRN_ONNX_BLOCKED_NODE_H_

#include "cpu/blocked.h"
#include "frn_node.h"
#include "op_types.h"

namespace frn {

struct BlockedNode : FrnNode {
  // Reads and checks attributes, element types, and what shapes are known. Throws FrnError.
  static BlockedNode Read(const OrtApi& api, const OrtKernelInfo& info, const OpType& op);

  int64_t block = 0;
  bool x_is_blocked = true;
  bool y_is_blocked = true;  // and residual
  int64_t channels = -1;     // -1: as many as gamma has
};

// X, residual and Y of one run.
struct BlockedTensors {
  BlockedShape shape;
  const float* x = nullptr;
  const float* residual = nullptr;  // nullptr: none
  FrnPhases phases{};               // of an op that interleaves; x is the first
  int64_t width = 0;
  float* y = nullptr;
};

// Fetches X and residual, checks them, and allocates Y. channels: of the parameters. Throws
// FrnError.
BlockedTensors ReadBlockedTensors(const OrtApi& api, const BlockedNode& node, int64_t channels,
                                  OrtKernelContext* context);

// The parameters of one run, those that are constant among them; sets *channels. `context` is
// nullptr where all are constant. Throws FrnError.
FrnParams<float> ReadBlockedParams(const OrtApi& api, const BlockedNode& node,
                                   const OrtKernelContext* context, int64_t* channels);

}  // namespace frn

#endif  // FRN_ONNX_BLOCKED_NODE_H_
