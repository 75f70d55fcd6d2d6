// One FRN node as ONNX Runtime presents it: what is known when the session is created, and the
// tensors of a run. The same for every element type and provider.

#ifndef FRN_ONNX_FRN_NODE_H_
#define FRN_ONNX_FRN_NODE_H_

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "frn_shape.h"
#include "op_types.h"
#include "ort_abi.h"

namespace frn {

constexpr float kDefaultEpsilon = 1e-6f;

// What ONNX Runtime itself reports, with its own code: no mistake in the model or the call.
class OrtError : public std::runtime_error {
 public:
  OrtError(OrtErrorCode code, const std::string& what) : std::runtime_error(what), code_(code) {}
  OrtErrorCode code() const { return code_; }

 private:
  OrtErrorCode code_;
};

// Throws the status as OrtError, and releases it; nothing to do for nullptr.
void Check(const OrtApi& api, OrtStatus* status);

using TensorInfo = std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)>;

Dims ReadDims(const OrtApi& api, const OrtTensorTypeAndShapeInfo* info);

// A parameter that is the same in every run.
struct FrnConstant {
  const OrtValue* value = nullptr;  // nullptr: not constant. Its data is where the provider's are
  Dims dims;
};

// Everything that is known of a node when the session is created.
struct FrnNode {
  // Reads and checks attributes, element types, and what shapes are known. Throws FrnError.
  static FrnNode Read(const OrtApi& api, const OrtKernelInfo& info, const OpType& op);

  const OpType* op = nullptr;
  FrnLayout layout;
  float epsilon = kDefaultEpsilon;
  // Of each input, by its role. UNDEFINED where the op has none, or an optional one is absent.
  std::array<ONNXTensorElementDataType, kRoles> types{};
  std::array<size_t, kRoles> positions{};     // among the node's inputs
  std::array<FrnConstant, kRoles> constants;  // of parameters
  // X is constant: the session is still being made, and the node is computed once, to be replaced.
  bool folded = false;

  bool Has(Role role) const { return types[role] != ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED; }
};

// Parts of it. The attribute epsilon:
float ReadEpsilon(const OrtApi& api, const OrtKernelInfo& info);
// All that is known of the inputs of node->op; returns their shapes, empty where not known.
std::array<Dims, kRoles> ReadInputs(const OrtApi& api, const OrtKernelInfo& info, FrnNode* node);

// "text (node 'name')"; the text alone where the node has no name.
std::string WithNodeName(const OrtApi& api, const OrtKernelInfo& info, const char* text);

// What read() returns; what it throws names the node.
template <class F>
auto NamingNode(const OrtApi& api, const OrtKernelInfo& info, F&& read) try {
  return read();
} catch (const FrnError& error) {
  throw FrnError(WithNodeName(api, info, error.what()));
} catch (const OrtError& error) {
  throw OrtError(error.code(), WithNodeName(api, info, error.what()));
}

// X, residual and Y of one run. For a GPU provider all pointers are device pointers.
struct FrnTensors {
  Dims dims;  // of all
  FrnShape shape;
  const void* x = nullptr;
  const void* residual = nullptr;  // nullptr: none
  void* y = nullptr;               // may be the same memory as x or residual
};

// Fetches X and residual, checks that this and constant parameters fit it, and allocates Y. Throws
// FrnError.
FrnTensors ReadTensors(const OrtApi& api, const FrnNode& node, OrtKernelContext* context);

// One pointer for each parameter; nullptr for what is none, or absent.
using FrnParamData = std::array<const void*, kRoles>;

// Fetches the parameters of one run; checks the shapes of those that are not constant. Throws
// FrnError.
FrnParamData ReadParams(const OrtApi& api, const FrnNode& node, const Dims& x,
                        const OrtKernelContext* context);

// An input of a run, which is there.
const OrtValue* InputOf(const OrtApi& api, const FrnNode& node, Role role,
                        const OrtKernelContext* context);

// The shape of a tensor that is there.
Dims DimsOf(const OrtApi& api, const OrtValue* value);

// Allocates Y; where its elements are.
void* MakeOutput(const OrtApi& api, const Dims& dims, OrtKernelContext* context);

// Where a tensor's elements are.
const void* DataOf(const OrtApi& api, const OrtValue* value);

}  // namespace frn

#endif  // FRN_ONNX_FRN_NODE_H_
