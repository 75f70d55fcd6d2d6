// The part of an ONNX Runtime custom op that is the same for every op type (op_types.h), element
// type and provider.
//
// A provider supplies a kernel class and appends its ops:
//
//   class MyKernel {
//    public:
//     using Node = FrnNode;  // what Node::Read reads is handed to it
//     MyKernel(const OrtApi& api, FrnNode node);      // may throw FrnError
//     void Compute(OrtKernelContext* context) const;  // re-entrant; may throw
//   };
//   ops.push_back(
//       MakeFrnOp<MyKernel>(runtime, kFrnOp, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, nullptr));

#ifndef FRN_ONNX_FRN_OP_H_
#define FRN_ONNX_FRN_OP_H_

#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "frn_node.h"
#include "frn_shape.h"
#include "op_types.h"
#include "ort_abi.h"

namespace frn {

// The ONNX Runtime that a set of ops is made for.
struct OrtRuntime {
  const OrtApi* api = nullptr;
  uint32_t version = 0;  // the 18 of "1.18.1"; every ONNX Runtime 1.x has ABI version x
};

// An OrtCustomOp, and what its callbacks need to know beside.
struct FrnCustomOp : OrtCustomOp {
  const OrtApi* api = nullptr;
  const OpType* op_type = nullptr;
  const char* provider = nullptr;  // nullptr: CPU
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
};

// All callbacks but those that make, run and destroy a kernel.
FrnCustomOp MakeFrnOpBase(const OrtRuntime& runtime, const OpType& op_type,
                          ONNXTensorElementDataType type, const char* provider);

// Shape inference makes up names for dimensions that have none, and numbers them. To be called
// where a session begins, or no more shapes are inferred for it, so that each counts from 0: a
// saved model is then the same every time.
void ForgetMadeNames();

// Runs `body`, and turns what it throws into a status: no exception crosses the C boundary.
template <class Body>
OrtStatusPtr Guard(const OrtApi& api, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const FrnError& error) {
    return api.CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (const OrtError& error) {
    return api.CreateStatus(error.code(), error.what());
  } catch (const std::bad_alloc&) {  // the code that ONNX Runtime gives it
    return api.CreateStatus(ORT_RUNTIME_EXCEPTION, "FRN: not enough memory");
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, error.what());
  } catch (...) {
    return api.CreateStatus(ORT_FAIL, "FRN: unknown exception");
  }
}

template <class Kernel>
FrnCustomOp MakeFrnOp(const OrtRuntime& runtime, const OpType& op_type,
                      ONNXTensorElementDataType type, const char* provider) {
  struct Instance {
    const OrtApi& api;
    Kernel kernel;
  };
  FrnCustomOp op = MakeFrnOpBase(runtime, op_type, type, provider);
  op.CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info,
                         void** kernel) -> OrtStatusPtr {
    return Guard(*api, [&] {
      auto node = Kernel::Node::Read(*api, *info, *static_cast<const FrnCustomOp*>(op)->op_type);
      if (!node.folded) ForgetMadeNames();
      *kernel = new Instance{*api, Kernel(*api, std::move(node))};
    });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) -> OrtStatusPtr {
    const auto* instance = static_cast<const Instance*>(kernel);
    return Guard(instance->api, [&] { instance->kernel.Compute(context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Instance*>(kernel); };
  return op;
}

// Each provider appends its ops.
void AppendCpuOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops);
// Those of the internal domain.
void AppendBlockedOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops);
#ifdef FRN_ONNX_WITH_CUDA
void AppendCudaOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops);
#endif

}  // namespace frn

#endif  // FRN_ONNX_FRN_OP_H_
