// The CUDA kernels as ONNX Runtime custom ops, one per element type. There is none for double:
// ONNX Runtime gives such a node to the CPU kernel, and copies.

#include <array>
#include <vector>

#include "cuda/call.h"
#include "cuda/launch.h"
#include "frn_op.h"
#include "onnx_type.h"

namespace frn {
namespace {

#ifdef FRN_SIMT
constexpr const char* kProvider = nullptr;  // under the emulator, pointers are the CPU's
#else
constexpr const char* kProvider = "CUDAExecutionProvider";
#endif

cuda::ElementType ElementTypeOf(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return cuda::ElementType::kFloat;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return cuda::ElementType::kF16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return cuda::ElementType::kBF16;
    default:
      throw FrnError("FRN: there is no CUDA kernel for " + TypeName(type) + ".");
  }
}

// Parameters stay where they are: on the device, read by the kernel.
class CudaKernel {
 public:
  using Node = FrnNode;

  CudaKernel(const OrtApi& api, FrnNode node)
      : api_(api), node_(node), type_(ElementTypeOf(node.types[kX])) {
    cuda::WarmUp();  // a session's first run is not the place to find that there is no kernel
  }

  void Compute(OrtKernelContext* context) const {
    const FrnTensors tensors = ReadTensors(api_, node_, context);
    const FrnParamData data = ReadParams(api_, node_, tensors.dims, context);
    cuda::KernelParams params;
    params.x = tensors.x;
    params.residual = tensors.residual;
    params.y = tensors.y;
    params.gamma = VectorOf(data, kGamma);
    params.beta = VectorOf(data, kBeta);
    params.tau = VectorOf(data, kTau);
    params.epsilon = static_cast<const float*>(data[kEpsilon]);
    params.epsilon_value = node_.epsilon;
    cuda::SetShape(tensors.shape, &params);

    void* stream = nullptr;
    Check(api_, api_.KernelContext_GetGPUComputeStream(context, &stream));
    cuda::Launch(params, type_, stream);
  }

 private:
  cuda::ChannelVector VectorOf(const FrnParamData& data, Role input) const {
    return {data[input], node_.types[input] == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
  }

  const OrtApi& api_;
  FrnNode node_;
  cuda::ElementType type_;
};

}  // namespace

void AppendCudaOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops) {
  // With an older driver every launch would fail: ONNX Runtime does as with a build without CUDA.
  if (!cuda::DriverIsNewEnough()) return;
  for (const OpType* op_type : kOpTypes) {
    for (const ONNXTensorElementDataType type :
         {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
          ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16}) {
      ops->push_back(MakeFrnOp<CudaKernel>(runtime, *op_type, type, kProvider));
    }
  }
}

}  // namespace frn
