#include "frn_op.h"

#include <algorithm>
#include <atomic>
#include <new>

namespace frn {
namespace {

constexpr uint32_t kSafeShapeInference = 24;  // tried: 1.23.2 crashes, 1.24.4 does not

using TypeInfo = std::unique_ptr<OrtTypeInfo, void (*)(OrtTypeInfo*)>;
using TensorInfo = std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)>;

Dims ReadDims(const OrtApi& api, const OrtTensorTypeAndShapeInfo* info) {
  size_t count = 0;
  Check(api, api.GetDimensionsCount(info, &count));
  Dims dims(count);
  Check(api, api.GetDimensions(info, dims.data(), count));
  return dims;
}

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
  size_t size = 0;
  if (Failed(api, api.KernelInfoGetAttributeArray_int64(&info, "axes", nullptr, &size))) {
    throw FrnError(
        "FRN: the attribute axes (ints) is missing. Give it the spatial axes, for example [2, 3] "
        "for NCHW and [1, 2] for NHWC.");
  }
  Dims axes(size);
  if (size > 0) {
    Check(api, api.KernelInfoGetAttributeArray_int64(&info, "axes", axes.data(), &size));
  }
  return axes;
}

float ReadEpsilon(const OrtApi& api, const OrtKernelInfo& info) {
  float epsilon = kDefaultEpsilon;
  if (Failed(api, api.KernelInfoGetAttribute_float(&info, "epsilon", &epsilon))) {
    int64_t integer = 0;
    if (!Failed(api, api.KernelInfoGetAttribute_int64(&info, "epsilon", &integer))) {
      throw FrnError("FRN: the attribute epsilon must be a float, received the integer " +
                     std::to_string(integer) + ". Write it as a float attribute.");
    }
    epsilon = kDefaultEpsilon;  // absent
  }
  CheckEpsilon(epsilon);
  return epsilon;
}

bool IsSupported(ONNXTensorElementDataType type) {
  return std::find(kElementTypes.begin(), kElementTypes.end(), type) != kElementTypes.end();
}

void CheckTypes(const FrnNode& node) {
  const ONNXTensorElementDataType x = node.types[kX];
  if (!IsSupported(x)) {
    throw FrnError("FRN: X must be float, float16, bfloat16 or double, received " + TypeName(x) +
                   ". Insert a Cast to float before the node and one back behind it.");
  }
  for (size_t i = kGamma; i < kInputCount; ++i) {
    const ONNXTensorElementDataType type = node.types[i];
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED) continue;
    const bool as_x = i != kEpsilon && type == x;
    if (as_x || type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) continue;
    const bool two = i != kEpsilon && x != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    throw FrnError(std::string("FRN: ") + kInputNames[i] + " must be " +
                   (two ? TypeName(x) + " (the type of X) or float" : "float") + ", received " +
                   TypeName(type) + ". Convert the stored parameter, or insert a Cast.");
  }
}

bool IsPresent(const OrtApi& api, const OrtKernelInfo& info, size_t index) {
  size_t size = 0;
  Check(api, api.KernelInfo_GetInputName(&info, index, nullptr, &size));
  return size > 1;  // an absent optional input has the empty name
}

const char* GetName(const OrtCustomOp*) { return kOpName; }

const char* GetProvider(const OrtCustomOp* op) {
  return static_cast<const FrnCustomOp*>(op)->provider;
}

// Only X's type selects a kernel. The parameters' types are checked in ReadNode, whose message
// lists the types that are accepted; ONNX Runtime's would not.
ONNXTensorElementDataType GetInputType(const OrtCustomOp* op, size_t index) {
  return index == kX ? static_cast<const FrnCustomOp*>(op)->type
                     : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

ONNXTensorElementDataType GetOutputType(const OrtCustomOp* op, size_t) {
  return static_cast<const FrnCustomOp*>(op)->type;
}

// Y has the shape of X. Without this ONNX Runtime's transpose optimiser keeps its distance.
void InferShapeOrThrow(const OrtApi& api, OrtShapeInferContext* context) {
  OrtTensorTypeAndShapeInfo* x = nullptr;  // owned by the context
  Check(api, api.ShapeInferContext_GetInputTypeShape(context, kX, &x));
  Dims dims = ReadDims(api, x);
  if (dims.empty()) return;  // how an unknown rank arrives
  std::vector<const char*> names(dims.size());
  Check(api, api.GetSymbolicDimensions(x, names.data(), names.size()));

  // A dimension with neither value nor name would be written as the value -1: give it a name, one
  // that no other dimension has, because equal names mean equal sizes.
  static std::atomic<uint64_t> unnamed{0};
  std::vector<std::string> made(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] >= 0 || *names[i] != '\0') continue;
    made[i] = "frn_onnx_unknown_" + std::to_string(unnamed++);
    names[i] = made[i].c_str();
  }

  ONNXTensorElementDataType type;
  Check(api, api.GetTensorElementType(x, &type));
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  Check(api, api.CreateTensorTypeAndShapeInfo(&raw));
  const TensorInfo y(raw, api.ReleaseTensorTypeAndShapeInfo);
  Check(api, api.SetTensorElementType(y.get(), type));
  Check(api, api.SetDimensions(y.get(), dims.data(), dims.size()));
  Check(api, api.SetSymbolicDimensions(y.get(), names.data(), names.size()));
  Check(api, api.ShapeInferContext_SetOutputTypeShape(context, 0, y.get()));
}

OrtStatusPtr InferShape(const OrtCustomOp* op, OrtShapeInferContext* context) {
  const OrtApi& api = *static_cast<const FrnCustomOp*>(op)->api;
  return Guard(api, [&] { InferShapeOrThrow(api, context); });
}

}  // namespace

std::string TypeName(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return "float";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return "uint8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return "int8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
      return "uint16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
      return "int16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return "int32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING:
      return "string";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
      return "bool";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return "double";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
      return "uint32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
      return "uint64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return "bfloat16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN:
      return "float8e4m3fn";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ:
      return "float8e4m3fnuz";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2:
      return "float8e5m2";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ:
      return "float8e5m2fnuz";
    default:
      return "type " + std::to_string(static_cast<int>(type));
  }
}

void Check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw FrnError("FRN: " + message);
}

FrnNode ReadNode(const OrtApi& api, const OrtKernelInfo& info) try {
  FrnNode node;
  node.layout = ParseAxes(ReadAxes(api, info));
  node.epsilon = ReadEpsilon(api, info);

  size_t count = 0;
  Check(api, api.KernelInfo_GetInputCount(&info, &count));
  std::array<Dims, kInputCount> dims;  // empty where not known
  for (size_t i = 0; i < count && i < kInputCount; ++i) {
    if (!IsPresent(api, info, i)) continue;
    OrtTypeInfo* raw = nullptr;
    Check(api, api.KernelInfo_GetInputTypeInfo(&info, i, &raw));
    const TypeInfo type(raw, api.ReleaseTypeInfo);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;  // part of `type`
    Check(api, api.CastTypeInfoToTensorInfo(type.get(), &tensor));
    if (tensor == nullptr) {
      throw FrnError(std::string("FRN: ") + kInputNames[i] + " must be a tensor.");
    }
    Check(api, api.GetTensorElementType(tensor, &node.types[i]));
    dims[i] = ReadDims(api, tensor);
  }
  CheckTypes(node);

  if (!dims[kX].empty()) {
    CheckRank(node.layout, dims[kX]);
    for (size_t i = kGamma; i < kInputCount; ++i) {
      if (!dims[i].empty()) CheckParamShape(node.layout, dims[kX], kInputNames[i], dims[i]);
    }
  }
  return node;
} catch (const FrnError& error) {
  const std::string name = NodeName(api, info);
  throw FrnError(error.what() + (name.empty() ? "" : " (node '" + name + "')"));
}

FrnTensors ReadTensors(const OrtApi& api, const FrnNode& node, OrtKernelContext* context) {
  FrnTensors tensors;
  Dims x;
  size_t count = 0;
  Check(api, api.KernelContext_GetInputCount(context, &count));
  for (size_t i = 0; i < count && i < kInputCount; ++i) {
    const OrtValue* value = nullptr;
    Check(api, api.KernelContext_GetInput(context, i, &value));
    if (value == nullptr) continue;  // absent
    OrtTensorTypeAndShapeInfo* raw = nullptr;
    Check(api, api.GetTensorTypeAndShape(value, &raw));
    const TensorInfo info(raw, api.ReleaseTensorTypeAndShapeInfo);
    Dims dims = ReadDims(api, info.get());
    if (i == kX) {
      tensors.shape = MakeShape(node.layout, dims);
      x = std::move(dims);
    } else {
      CheckParamShape(node.layout, x, kInputNames[i], dims);
    }
    void* data = nullptr;  // the ABI has no reading accessor
    Check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    tensors.inputs[i] = data;
  }
  OrtValue* y = nullptr;
  Check(api, api.KernelContext_GetOutput(context, 0, x.data(), x.size(), &y));
  Check(api, api.GetTensorMutableData(y, &tensors.y));
  return tensors;
}

FrnCustomOp MakeFrnOpBase(const OrtRuntime& runtime, ONNXTensorElementDataType type,
                          const char* provider) {
  FrnCustomOp op{};  // zero: a callback that is not set is not called
  op.version = kAbiVersion;
  op.api = runtime.api;
  op.provider = provider;
  op.type = type;
  op.GetName = GetName;
  op.GetExecutionProviderType = GetProvider;
  op.GetInputType = GetInputType;
  op.GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return kInputCount; };
  op.GetOutputType = GetOutputType;
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t index) {
    return index < kRequiredInputs ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  // Older ones read the type of an absent input before they call it, and crash on epsilon without
  // tau. There, shapes are what the file says (value_info).
  if (runtime.version >= kSafeShapeInference) op.InferOutputShapeFn = InferShape;
  op.GetStartVersion = [](const OrtCustomOp*) { return kOpVersion; };
  op.GetEndVersion = [](const OrtCustomOp*) { return kOpVersion; };
  // Y may be written over X.
  op.GetMayInplace = [](int** input_index, int** output_index) -> size_t {
    *input_index = new (std::nothrow) int[1]{0};
    *output_index = new (std::nothrow) int[1]{0};
    return *input_index != nullptr && *output_index != nullptr ? 1 : 0;
  };
  op.ReleaseMayInplace = [](int* input_index, int* output_index) {
    delete[] input_index;
    delete[] output_index;
  };
  return op;
}

}  // namespace frn
