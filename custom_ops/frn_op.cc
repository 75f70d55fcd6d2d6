#include "frn_op.h"

#include "frn_node.h"

namespace frn {
namespace {

constexpr uint32_t kSafeShapeInference = 24;  // tried: 1.23.2 crashes, 1.24.4 does not

// How many dimensions were given a name since the session that is being made on this thread began.
thread_local uint64_t made_names = 0;

const FrnCustomOp& Of(const OrtCustomOp* op) { return *static_cast<const FrnCustomOp*>(op); }

const char* GetName(const OrtCustomOp* op) { return Of(op).op_type->name; }

const char* GetProvider(const OrtCustomOp* op) { return Of(op).provider; }

// Only X's type selects a kernel. The other inputs' types are checked in ReadNode, whose message
// lists the types that are accepted; ONNX Runtime's would not.
ONNXTensorElementDataType GetInputType(const OrtCustomOp* op, size_t index) {
  return index == 0 ? Of(op).type : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

ONNXTensorElementDataType GetOutputType(const OrtCustomOp* op, size_t) { return Of(op).type; }

// Y has the shape of X. Without this ONNX Runtime's transpose optimiser keeps its distance.
void InferShapeOrThrow(const OrtApi& api, OrtShapeInferContext* context) {
  OrtTensorTypeAndShapeInfo* x = nullptr;  // owned by the context
  Check(api, api.ShapeInferContext_GetInputTypeShape(context, 0, &x));
  Dims dims = ReadDims(api, x);
  if (dims.empty()) return;  // how an unknown rank arrives
  std::vector<const char*> names(dims.size());
  Check(api, api.GetSymbolicDimensions(x, names.data(), names.size()));

  // A dimension with neither value nor name would be written as the value -1: give it a name, one
  // that no other dimension has, because equal names mean equal sizes.
  std::vector<std::string> made(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] >= 0 || *names[i] != '\0') continue;
    made[i] = "frn_onnx_unknown_" + std::to_string(made_names++);
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
  const OrtApi& api = *Of(op).api;
  return Guard(api, [&] { InferShapeOrThrow(api, context); });
}

}  // namespace

void ForgetMadeNames() { made_names = 0; }

FrnCustomOp MakeFrnOpBase(const OrtRuntime& runtime, const OpType& op_type,
                          ONNXTensorElementDataType type, const char* provider) {
  FrnCustomOp op{};  // zero: a callback that is not set is not called
  op.version = kAbiVersion;
  op.api = runtime.api;
  op.op_type = &op_type;
  op.provider = provider;
  op.type = type;
  op.GetName = GetName;
  op.GetExecutionProviderType = GetProvider;
  op.GetInputType = GetInputType;
  op.GetInputTypeCount = [](const OrtCustomOp* op) { return Of(op).op_type->input_count; };
  op.GetOutputType = GetOutputType;
  op.GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
  op.GetInputCharacteristic = [](const OrtCustomOp* op, size_t index) {
    return index < Of(op).op_type->required ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  // Older ones read the type of an absent input before they call it, and crash on epsilon without
  // tau. There, shapes are what the file says (value_info).
  if (runtime.version >= kSafeShapeInference) op.InferOutputShapeFn = InferShape;
  op.GetStartVersion = [](const OrtCustomOp*) { return kOpVersion; };
  op.GetEndVersion = [](const OrtCustomOp*) { return kOpVersion; };
  op.GetMayInplace = op_type.may_inplace;
  op.ReleaseMayInplace = [](int* input_index, int* output_index) {
    delete[] input_index;
    delete[] output_index;
  };
  return op;
}

}  // namespace frn
