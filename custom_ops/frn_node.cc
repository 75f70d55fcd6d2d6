#include "frn_node.h"

#include <optional>

#include "onnx_type.h"

namespace frn {
namespace {

using TypeInfo = std::unique_ptr<OrtTypeInfo, void (*)(OrtTypeInfo*)>;

// Nothing to do for nullptr; true if there was an error, which is dropped.
bool Failed(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return false;
  api.ReleaseStatus(status);
  return true;
}

std::string NodeName(const OrtApi& api, const OrtKernelInfo& info) {
  size_t size = 0;
  if (Failed(api, api.KernelInfo_GetNodeName(&info, nullptr, &size)) || size <= 1) return "";
  std::string name(size, '\0');
  if (Failed(api, api.KernelInfo_GetNodeName(&info, name.data(), &size))) return "";
  name.resize(size - 1);  // the terminating zero
  return name;
}

Dims ReadAxes(const OrtApi& api, const OrtKernelInfo& info) {
  size_t size = 0;  // ONNX Runtime takes an attribute of another type for an empty one
  if (Failed(api, api.KernelInfoGetAttributeArray_int64(&info, "axes", nullptr, &size)) ||
      size == 0) {
    throw FrnError(
        "FRN: the attribute axes (ints) is missing, empty or of another type. Give it the spatial "
        "axes, for example [2, 3] for NCHW and [1, 2] for NHWC.");
  }
  Dims axes(size);
  Check(api, api.KernelInfoGetAttributeArray_int64(&info, "axes", axes.data(), &size));
  return axes;
}

// Reads a float attribute; the text of the error, if there was one.
std::optional<std::string> ReadFloat(const OrtApi& api, const OrtKernelInfo& info, const char* name,
                                     float* value) {
  OrtStatus* status = api.KernelInfoGetAttribute_float(&info, name, value);
  if (status == nullptr) return std::nullopt;
  const std::unique_ptr<OrtStatus, void (*)(OrtStatus*)> held(status, api.ReleaseStatus);
  return api.GetErrorMessage(status);
}

// What ONNX Runtime says of an attribute that is not there. Its code is that of one of another
// type, and its text is not documented: it is made from that of a name that no node has.
std::string TextOfAbsence(const OrtApi& api, const OrtKernelInfo& info, const std::string& name) {
  const std::string nobody = "name that no attribute has";
  float value = 0;
  std::string text = ReadFloat(api, info, nobody.c_str(), &value).value_or("");
  const size_t at = text.find(nobody);
  if (at != std::string::npos) text.replace(at, nobody.size(), name);
  return text;
}

// "float16 (the type of X) or float"
std::string TypesOf(Role role, ONNXTensorElementDataType x) {
  const std::string as_x = TypeName(x) + " (the type of X)";
  if (role == kResidual) return as_x;
  const bool two = role != kEpsilon && x != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  return two ? as_x + " or float" : "float";
}

void CheckTypes(const FrnNode& node) {
  const ONNXTensorElementDataType x = node.types[kX];
  if (!IsElementType(x)) {
    throw FrnError("FRN: X must be float, float16, bfloat16 or double, received " + TypeName(x) +
                   ". Insert a Cast to float before the node and one back behind it.");
  }
  for (size_t i = 1; i < node.op->input_count; ++i) {
    const Role role = node.op->inputs[i];
    const ONNXTensorElementDataType type = node.types[role];
    if (!node.Has(role)) continue;
    const bool as_x = role != kEpsilon && type == x;
    const bool as_float = role != kResidual && type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    if (as_x || as_float) continue;
    throw FrnError(std::string("FRN: ") + kRoleNames[role] + " must be " + TypesOf(role, x) +
                   ", received " + TypeName(type) +
                   (role == kResidual ? ". Insert a Cast."
                                      : ". Convert the stored parameter, or insert a Cast."));
  }
}

bool IsPresent(const OrtApi& api, const OrtKernelInfo& info, size_t index) {
  size_t size = 0;
  Check(api, api.KernelInfo_GetInputName(&info, index, nullptr, &size));
  return size > 1;  // an absent optional input has the empty name
}

// Element type of input i, and its shape as far as it is known: empty where not even the rank is.
Dims ReadType(const OrtApi& api, const OrtKernelInfo& info, size_t i, const char* name,
              ONNXTensorElementDataType* element) {
  OrtTypeInfo* raw = nullptr;
  Check(api, api.KernelInfo_GetInputTypeInfo(&info, i, &raw));
  const TypeInfo type(raw, api.ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;  // part of `type`
  Check(api, api.CastTypeInfoToTensorInfo(type.get(), &tensor));
  if (tensor == nullptr) throw FrnError(std::string("FRN: ") + name + " must be a tensor.");
  Check(api, api.GetTensorElementType(tensor, element));
  if (*element == ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED) {  // which is how absent ones are known
    throw FrnError(std::string("FRN: ") + name +
                   " has no element type. State it in the model, or run shape inference.");
  }
  return ReadDims(api, tensor);
}

FrnConstant ReadConstant(const OrtApi& api, const OrtKernelInfo& info, size_t i) {
  FrnConstant constant;
  int is_constant = 0;
  Check(api, api.KernelInfoGetConstantInput_tensor(&info, i, &is_constant, &constant.value));
  if (is_constant == 0) return {};
  constant.dims = DimsOf(api, constant.value);
  return constant;
}

// "X, gamma and beta are required, tau and epsilon optional."
std::string WhichAreRequired(const OpType& op) {
  const auto list = [&](size_t begin, size_t end) {
    std::string text;
    for (size_t i = begin; i < end; ++i) {
      text += (i == begin    ? ""
               : i + 1 < end ? ", "
                             : " and ") +
              std::string(kRoleNames[op.inputs[i]]);
    }
    return text;
  };
  return list(0, op.required) + " are required, " + list(op.required, op.input_count) +
         " optional.";
}

}  // namespace

void Check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const OrtError error(api.GetErrorCode(status),
                       std::string("FRN: ") + api.GetErrorMessage(status));
  api.ReleaseStatus(status);
  throw error;
}

Dims ReadDims(const OrtApi& api, const OrtTensorTypeAndShapeInfo* info) {
  size_t count = 0;
  Check(api, api.GetDimensionsCount(info, &count));
  Dims dims(count);
  Check(api, api.GetDimensions(info, dims.data(), count));
  return dims;
}

const void* DataOf(const OrtApi& api, const OrtValue* value) {
  void* data = nullptr;  // the ABI has no reading accessor
  Check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return data;
}

float ReadEpsilon(const OrtApi& api, const OrtKernelInfo& info) {
  float epsilon = kDefaultEpsilon;
  if (const auto refusal = ReadFloat(api, info, "epsilon", &epsilon)) {
    if (*refusal != TextOfAbsence(api, info, "epsilon")) {
      int64_t integer = 0;
      const bool is_int =
          !Failed(api, api.KernelInfoGetAttribute_int64(&info, "epsilon", &integer));
      throw FrnError("FRN: the attribute epsilon must be a float, received " +
                     (is_int ? "the integer " + std::to_string(integer) : "another type") +
                     ". Write it as a float attribute. ONNX Runtime says: " + *refusal);
    }
    epsilon = kDefaultEpsilon;
  }
  CheckEpsilon(epsilon);
  return epsilon;
}

std::array<Dims, kRoles> ReadInputs(const OrtApi& api, const OrtKernelInfo& info, FrnNode* node) {
  std::array<Dims, kRoles> dims;
  size_t count = 0;
  Check(api, api.KernelInfo_GetInputCount(&info, &count));
  for (size_t i = 0; i < node->op->input_count; ++i) {
    const Role role = node->op->inputs[i];
    node->positions[role] = i;
    if (i < count && IsPresent(api, info, i)) {
      dims[role] = ReadType(api, info, i, kRoleNames[role], &node->types[role]);
    } else if (i < node->op->required) {
      throw FrnError(std::string("FRN: the input ") + kRoleNames[role] + " is missing. " +
                     WhichAreRequired(*node->op));
    }
  }
  CheckTypes(*node);
  node->folded = ReadConstant(api, info, node->positions[kX]).value != nullptr;
  for (Role role : kParameterRoles) {
    if (!node->Has(role)) continue;
    node->constants[role] = ReadConstant(api, info, node->positions[role]);
    if (node->constants[role].value != nullptr) dims[role] = node->constants[role].dims;
  }
  return dims;
}

std::string WithNodeName(const OrtApi& api, const OrtKernelInfo& info, const char* text) {
  const std::string name = NodeName(api, info);
  return text + (name.empty() ? "" : " (node '" + name + "')");
}

FrnNode FrnNode::Read(const OrtApi& api, const OrtKernelInfo& info, const OpType& op) {
  return NamingNode(api, info, [&] {
    FrnNode node;
    node.op = &op;
    node.layout = ParseAxes(ReadAxes(api, info));
    node.epsilon = ReadEpsilon(api, info);
    std::array<Dims, kRoles> dims = ReadInputs(api, info, &node);

    Dims& x = dims[kX];
    if (x.empty()) x.assign(node.layout.rank, -1);
    CheckRank(node.layout, x);
    // Where the model does not say how many channels X has, a constant does: all must agree on it.
    int64_t& channels = x[node.layout.channel_axis];
    for (Role role : kParameterRoles) {
      if (node.constants[role].value == nullptr || dims[role].empty()) continue;
      if (channels < 0) channels = dims[role][0];
    }
    for (Role role : kParameterRoles) {
      const bool known = node.constants[role].value != nullptr || !dims[role].empty();
      if (known) CheckParamShape(node.layout, x, kRoleNames[role], dims[role]);
    }
    if (!dims[kResidual].empty()) CheckResidualShape(x, dims[kResidual]);
    return node;
  });
}

const OrtValue* InputOf(const OrtApi& api, const FrnNode& node, Role role,
                        const OrtKernelContext* context) {
  const OrtValue* value = nullptr;
  Check(api, api.KernelContext_GetInput(context, node.positions[role], &value));
  return value;
}

Dims DimsOf(const OrtApi& api, const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  Check(api, api.GetTensorTypeAndShape(value, &raw));
  const TensorInfo info(raw, api.ReleaseTensorTypeAndShapeInfo);
  return ReadDims(api, info.get());
}

void* MakeOutput(const OrtApi& api, const Dims& dims, OrtKernelContext* context) {
  OrtValue* y = nullptr;
  Check(api, api.KernelContext_GetOutput(context, 0, dims.data(), dims.size(), &y));
  void* data = nullptr;
  Check(api, api.GetTensorMutableData(y, &data));
  return data;
}

FrnTensors ReadTensors(const OrtApi& api, const FrnNode& node, OrtKernelContext* context) {
  FrnTensors tensors;
  const OrtValue* x = InputOf(api, node, kX, context);
  tensors.dims = DimsOf(api, x);
  tensors.shape = MakeShape(node.layout, tensors.dims);
  tensors.x = DataOf(api, x);
  if (node.Has(kResidual)) {
    const OrtValue* residual = InputOf(api, node, kResidual, context);
    CheckResidualShape(tensors.dims, DimsOf(api, residual));
    tensors.residual = DataOf(api, residual);
  }
  for (Role role : kParameterRoles) {
    const FrnConstant& constant = node.constants[role];
    if (constant.value == nullptr || constant.dims[0] == tensors.shape.channels) continue;
    CheckParamShape(node.layout, tensors.dims, kRoleNames[role], constant.dims);
  }
  tensors.y = MakeOutput(api, tensors.dims, context);
  return tensors;
}

FrnParamData ReadParams(const OrtApi& api, const FrnNode& node, const Dims& x,
                        const OrtKernelContext* context) {
  FrnParamData params{};
  for (Role role : kParameterRoles) {
    if (!node.Has(role)) continue;
    const OrtValue* value = InputOf(api, node, role, context);
    if (node.constants[role].value == nullptr) {
      CheckParamShape(node.layout, x, kRoleNames[role], DimsOf(api, value));
    }
    params[role] = DataOf(api, value);
  }
  return params;
}

}  // namespace frn
