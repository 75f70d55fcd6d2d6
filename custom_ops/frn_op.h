// The op's contract in C++, mirror of frn_onnx/op.py (a test compares the two), and the part of an
// ONNX Runtime custom op that is the same for every element type and provider.
//
//   nu2 = mean(X**2) over the spatial axes, per sample and channel
//   Y   = max(gamma * X / sqrt(nu2 + epsilon) + beta, tau)
//
// A provider supplies a kernel class and appends its ops:
//
//   class MyKernel {
//    public:
//     MyKernel(const OrtApi& api, FrnNode node);      // may throw FrnError
//     void Compute(OrtKernelContext* context) const;  // re-entrant; may throw
//   };
//   ops.push_back(MakeFrnOp<MyKernel>(runtime, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, nullptr));

#ifndef FRN_ONNX_FRN_OP_H_
#define FRN_ONNX_FRN_OP_H_

#include <array>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "frn_shape.h"
#include "ort_abi.h"

namespace frn {

constexpr char kDomain[] = "frn_onnx";
constexpr char kOpName[] = "FilterResponseNormalization";
constexpr int kOpVersion = 1;
constexpr float kDefaultEpsilon = 1e-6f;

// The ABI version that the ops are filled in for: the first that has all of ort_abi.h, so also the
// oldest ONNX Runtime (1.18) that the library works with. Newer ones keep to it.
constexpr uint32_t kAbiVersion = 18;

enum InputIndex : size_t { kX, kGamma, kBeta, kTau, kEpsilon, kInputCount };
constexpr std::array<const char*, kInputCount> kInputNames = {"X", "gamma", "beta", "tau",
                                                              "epsilon"};
constexpr size_t kRequiredInputs = 3;

constexpr std::array<ONNXTensorElementDataType, 4> kElementTypes = {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE};

// "float16"; "type 42" for a number this file has no name for.
std::string TypeName(ONNXTensorElementDataType type);

// Throws FrnError with the status's message, and releases it; nothing to do for nullptr.
void Check(const OrtApi& api, OrtStatus* status);

// Everything that is known of a node when the session is created.
struct FrnNode {
  FrnLayout layout;
  float epsilon = kDefaultEpsilon;
  // Element type of each input; UNDEFINED where an optional one is absent.
  std::array<ONNXTensorElementDataType, kInputCount> types{};
};

// Reads and checks attributes, element types, and what shapes are known. Throws FrnError.
FrnNode ReadNode(const OrtApi& api, const OrtKernelInfo& info);

// The tensors of one call. For a GPU provider all pointers are device pointers.
struct FrnTensors {
  FrnShape shape;
  std::array<const void*, kInputCount> inputs{};  // nullptr where absent
  void* y = nullptr;                              // may be the same memory as inputs[kX]
};

// Fetches the inputs, checks their shapes against X and allocates Y. Throws FrnError.
FrnTensors ReadTensors(const OrtApi& api, const FrnNode& node, OrtKernelContext* context);

// The ONNX Runtime that a set of ops is made for.
struct OrtRuntime {
  const OrtApi* api = nullptr;
  uint32_t version = 0;  // the 18 of "1.18.1"; every ONNX Runtime 1.x has ABI version x
};

// An OrtCustomOp, and what its callbacks need to know beside.
struct FrnCustomOp : OrtCustomOp {
  const OrtApi* api = nullptr;
  const char* provider = nullptr;  // nullptr: CPU
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
};

// All callbacks but those that make, run and destroy a kernel.
FrnCustomOp MakeFrnOpBase(const OrtRuntime& runtime, ONNXTensorElementDataType type,
                          const char* provider);

// Runs `body`, and turns what it throws into a status: no exception crosses the C boundary.
template <class Body>
OrtStatusPtr Guard(const OrtApi& api, Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const FrnError& error) {
    return api.CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, error.what());
  } catch (...) {
    return api.CreateStatus(ORT_FAIL, "FRN: unknown exception");
  }
}

template <class Kernel>
FrnCustomOp MakeFrnOp(const OrtRuntime& runtime, ONNXTensorElementDataType type,
                      const char* provider) {
  struct Instance {
    const OrtApi& api;
    Kernel kernel;
  };
  FrnCustomOp op = MakeFrnOpBase(runtime, type, provider);
  op.CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info,
                         void** kernel) -> OrtStatusPtr {
    return Guard(*api, [&] { *kernel = new Instance{*api, Kernel(*api, ReadNode(*api, *info))}; });
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
#ifdef FRN_ONNX_WITH_CUDA
void AppendCudaOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops);
#endif

}  // namespace frn

#endif  // FRN_ONNX_FRN_OP_H_
