// What a kernel asks of its node, when it is made, when shapes are inferred, and when it runs.

#include <algorithm>
#include <cstring>
#include <string>
#include <variant>

#include "tests/fake_ort_handles.h"

namespace fake_ort {
namespace {

// One code for both, as in ONNX Runtime.
OrtStatus* NoSuch(const char* name) {
  return Fail(ORT_FAIL, std::string("no attribute has the name ") + name);
}

template <class Wanted, class Stored>
OrtStatus* Attribute(const Stored& stored, const char* name, Wanted* out) {
  if (std::holds_alternative<NoAttribute>(stored)) return NoSuch(name);
  const Wanted* found = std::get_if<Wanted>(&stored);
  if (found == nullptr) return Fail(ORT_FAIL, "the attribute's type is another");
  *out = *found;
  return nullptr;
}

OrtStatus* FloatAttribute(const OrtKernelInfo* info, const char* name, float* out) {
  FRN_ENTER("KernelInfoGetAttribute_float");
  Live(info, "kernel info");
  if (std::strcmp(name, "epsilon") != 0) return NoSuch(name);
  return Attribute(info->node->epsilon, name, out);
}

OrtStatus* IntAttribute(const OrtKernelInfo* info, const char* name, int64_t* out) {
  FRN_ENTER("KernelInfoGetAttribute_int64");
  Live(info, "kernel info");
  if (std::strcmp(name, "epsilon") == 0) return Attribute(info->node->epsilon, name, out);
  if (std::strcmp(name, "axes") == 0) return Attribute(info->node->axes, name, out);
  return NoSuch(name);
}

OrtStatus* IntsAttribute(const OrtKernelInfo* info, const char* name, int64_t* out, size_t* size) {
  FRN_ENTER("KernelInfoGetAttributeArray_int64");
  Live(info, "kernel info");
  Dims values;
  if (std::strcmp(name, "axes") != 0) return NoSuch(name);
  if (OrtStatus* status = Attribute(info->node->axes, name, &values)) return status;
  if (out != nullptr && *size < values.size()) return Fail(ORT_INVALID_ARGUMENT, "too small");
  *size = values.size();
  if (out != nullptr) std::copy(values.begin(), values.end(), out);
  return nullptr;
}

OrtStatus* CopyText(const std::string& text, char* out, size_t* size) {
  const size_t needed = text.size() + 1;
  if (out != nullptr && *size < needed) return Fail(ORT_INVALID_ARGUMENT, "too small");
  *size = needed;
  if (out != nullptr) std::memcpy(out, text.c_str(), needed);
  return nullptr;
}

OrtStatus* NodeName(const OrtKernelInfo* info, char* out, size_t* size) {
  FRN_ENTER("KernelInfo_GetNodeName");
  Live(info, "kernel info");
  return CopyText(info->node->name, out, size);
}

OrtStatus* InputCount(const OrtKernelInfo* info, size_t* out) {
  FRN_ENTER("KernelInfo_GetInputCount");
  Live(info, "kernel info");
  *out = info->node->inputs.size();
  return nullptr;
}

OrtStatus* InputName(const OrtKernelInfo* info, size_t index, char* out, size_t* size) {
  FRN_ENTER("KernelInfo_GetInputName");
  Live(info, "kernel info");
  if (index >= info->node->inputs.size()) return Fail(ORT_FAIL, "no such input");
  return CopyText(info->node->inputs[index].present ? "value" : "", out, size);
}

OrtStatus* InputType(const OrtKernelInfo* info, size_t index, OrtTypeInfo** out) {
  FRN_ENTER("KernelInfo_GetInputTypeInfo");
  Live(info, "kernel info");
  if (index >= info->node->inputs.size()) return Fail(ORT_FAIL, "no such input");
  const Input& input = info->node->inputs[index];
  if (!input.present) return Fail(ORT_INVALID_ARGUMENT, "an absent input has no type");
  *out = new OrtTypeInfo;
  (*out)->is_tensor = input.is_tensor;
  (*out)->tensor.type = input.known;
  (*out)->tensor.owned = false;
  return nullptr;
}

OrtStatus* ConstantInput(const OrtKernelInfo* info, size_t index, int* constant,
                         const OrtValue** out) {
  FRN_ENTER("KernelInfoGetConstantInput_tensor");
  Live(info, "kernel info");
  if (index >= info->node->inputs.size()) return Fail(ORT_FAIL, "no such input");
  const Input& input = info->node->inputs[index];
  *constant = input.present && input.constant ? 1 : 0;
  *out = nullptr;
  if (*constant != 0) *out = &info->constants[index];
  return nullptr;
}

// ---- a run ----

OrtStatus* ContextInputCount(const OrtKernelContext* context, size_t* out) {
  FRN_ENTER("KernelContext_GetInputCount");
  Live(context, "kernel context");
  *out = context->inputs.size();
  return nullptr;
}

OrtStatus* ContextInput(const OrtKernelContext* context, size_t index, const OrtValue** out) {
  FRN_ENTER("KernelContext_GetInput");
  Live(context, "kernel context");
  if (index >= context->inputs.size()) return Fail(ORT_INVALID_ARGUMENT, "no such input");
  *out = context->node->inputs[index].present ? &context->inputs[index] : nullptr;
  return nullptr;
}

OrtStatus* ContextOutput(OrtKernelContext* context, size_t index, const int64_t* dims, size_t count,
                         OrtValue** out) {
  FRN_ENTER("KernelContext_GetOutput");
  Live(context, "kernel context");
  if (index != 0) return Fail(ORT_INVALID_ARGUMENT, "no such output");
  const Input& x = context->node->inputs[0];
  if (Dims(dims, dims + count) != x.dims) Broken("KernelContext_GetOutput", "not X's shape");
  if (context->y.empty()) {
    context->y.push_back({{}, x.known.type, x.dims, context->node->y});
  }
  *out = &context->y[0];
  return nullptr;
}

OrtStatus* ParallelFor(const OrtKernelContext* context, void (*fn)(void*, size_t), size_t total,
                       size_t, void* data) {
  {
    FRN_ENTER("KernelContext_ParallelFor");
    Live(context, "kernel context");
  }
  RunTasks(context->order, fn, total, data);
  return nullptr;
}

OrtStatus* InferredInput(const OrtShapeInferContext* context, size_t index,
                         OrtTensorTypeAndShapeInfo** out) {
  FRN_ENTER("ShapeInferContext_GetInputTypeShape");
  Live(context, "shape context");
  if (index >= context->inputs.size()) return Fail(ORT_INVALID_ARGUMENT, "no such input");
  *out = const_cast<OrtTensorTypeAndShapeInfo*>(&context->inputs[index]);
  return nullptr;
}

OrtStatus* SetInferred(const OrtShapeInferContext* context, size_t index,
                       const OrtTensorTypeAndShapeInfo* info) {
  FRN_ENTER("ShapeInferContext_SetOutputTypeShape");
  Live(context, "shape context");
  Live(info, "shape info");
  if (index != 0) return Fail(ORT_INVALID_ARGUMENT, "no such output");
  context->y = info->type;
  return nullptr;
}

}  // namespace

void FillNodeCalls(OrtApi* api) {
  api->KernelInfoGetAttribute_float = FloatAttribute;
  api->KernelInfoGetAttribute_int64 = IntAttribute;
  api->KernelContext_GetInputCount = ContextInputCount;
  api->KernelContext_GetInput = ContextInput;
  api->KernelContext_GetOutput = ContextOutput;
  api->KernelInfoGetAttributeArray_int64 = IntsAttribute;
  api->KernelInfo_GetInputCount = InputCount;
  api->KernelInfo_GetInputName = InputName;
  api->KernelInfo_GetInputTypeInfo = InputType;
  api->KernelInfo_GetNodeName = NodeName;
  api->KernelInfoGetConstantInput_tensor = ConstantInput;
  api->ShapeInferContext_GetInputTypeShape = InferredInput;
  api->ShapeInferContext_SetOutputTypeShape = SetInferred;
  api->KernelContext_ParallelFor = ParallelFor;
}

}  // namespace fake_ort
