// One FRN node as ONNX Runtime presents it: what is known when the session is created, and the
// tensors of a run. The same for every element type and provider.

#ifndef FRN_ONNX_FRN_NODE_H_
#define FRN_ONNX_FRN_NODE_H_

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

#include "frn_shape.h"
#include "ort_abi.h"

namespace frn {

constexpr float kDefaultEpsilon = 1e-6f;

enum InputIndex : size_t { kX, kGamma, kBeta, kTau, kEpsilon, kInputCount };
constexpr std::array<const char*, kInputCount> kInputNames = {"X", "gamma", "beta", "tau",
                                                              "epsilon"};
constexpr size_t kRequiredInputs = 3;

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
  FrnLayout layout;
  float epsilon = kDefaultEpsilon;
  // Element type of each input; UNDEFINED where an optional one is absent.
  std::array<ONNXTensorElementDataType, kInputCount> types{};
  std::array<FrnConstant, kInputCount> constants;  // of parameters
  // X is constant: the session is still being made, and the node is computed once, to be replaced.
  bool folded = false;

  bool IsPresent(size_t input) const {
    return types[input] != ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }
};

// Reads and checks attributes, element types, and what shapes are known. Throws FrnError.
FrnNode ReadNode(const OrtApi& api, const OrtKernelInfo& info);

// X and Y of one run. For a GPU provider all pointers are device pointers.
struct FrnTensors {
  Dims dims;  // of both
  FrnShape shape;
  const void* x = nullptr;
  void* y = nullptr;  // may be the same memory as x
};

// Fetches X, checks that constant parameters fit it, and allocates Y. Throws FrnError.
FrnTensors ReadTensors(const OrtApi& api, const FrnNode& node, OrtKernelContext* context);

// One pointer for each input; nullptr for X and what is absent.
using FrnParamData = std::array<const void*, kInputCount>;

// Fetches the parameters of one run; checks the shapes of those that are not constant. Throws
// FrnError.
FrnParamData ReadParams(const OrtApi& api, const FrnNode& node, const Dims& x,
                        const OrtKernelContext* context);

// Where a tensor's elements are.
const void* DataOf(const OrtApi& api, const OrtValue* value);

}  // namespace frn

#endif  // FRN_ONNX_FRN_NODE_H_
