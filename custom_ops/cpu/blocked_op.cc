// FRN of blocked tensors as ONNX Runtime custom ops, of the internal domain.

#include <optional>
#include <utility>
#include <vector>

#include "blocked_node.h"
#include "cpu/cpu_target.h"
#include "cpu/machine.h"
#include "cpu/ort_executor.h"
#include "frn_op.h"

namespace frn {
namespace {

class BlockedKernel {
 public:
  using Node = BlockedNode;

  BlockedKernel(const OrtApi& api, BlockedNode node)
      : api_(api), node_(std::move(node)), table_(*SelectCpuTarget().kernels) {
    for (Role role : kParameterRoles) {
      if (node_.Has(role) && node_.constants[role].value == nullptr) return;
    }
    constant_.emplace(Prepare(nullptr, &channels_));
  }

  void Compute(OrtKernelContext* context) const {
    if (constant_.has_value()) {
      Compute(*constant_, channels_, context);
    } else {
      int64_t channels = 0;
      const Parameters<float> params = Prepare(context, &channels);
      Compute(params, channels, context);
    }
  }

 private:
  Parameters<float> Prepare(const OrtKernelContext* context, int64_t* channels) const {
    const FrnParams<float> params = ReadBlockedParams(api_, node_, context, channels);
    return PrepareBlocked(params, *channels, node_.block);
  }

  void Compute(const Parameters<float>& params, int64_t channels, OrtKernelContext* context) const {
    const BlockedTensors t = ReadBlockedTensors(api_, node_, channels, context);
    OrtExecutor executor(api_, context, threads_);
    if (node_.op == &kInterleavingFrnOp) {
      ComputeInterleaving(table_, t.shape, t.width, t.phases, t.y, params, executor);
    } else if (node_.x_is_blocked && node_.y_is_blocked) {
      ComputeBlocked(table_, t.shape, t.x, t.residual, t.y, params, executor);
    } else {
      const Reorder reorder = node_.y_is_blocked ? Reorder::kToBlocked : Reorder::kFromBlocked;
      ComputeReordering(table_, reorder, t.shape, t.x, t.residual, t.y, params, executor);
    }
  }

  const OrtApi& api_;
  BlockedNode node_;
  const KernelTable& table_;
  const int64_t threads_ = AvailableThreads();
  int64_t channels_ = 0;
  std::optional<Parameters<float>> constant_;  // where all parameters are the same in every run
};

}  // namespace

void AppendBlockedOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops) {
  for (const OpType* op_type : {&kBlockedFrnOp, &kReorderingFrnOp, &kInterleavingFrnOp}) {
    ops->push_back(
        MakeFrnOp<BlockedKernel>(runtime, *op_type, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, nullptr));
    // Where Y has not X's shape, what the model says is taken.
    if (op_type != &kBlockedFrnOp) ops->back().InferOutputShapeFn = nullptr;
  }
}

}  // namespace frn
