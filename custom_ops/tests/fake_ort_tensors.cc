// Types, shapes and values.

#include <string>

#include "tests/fake_ort_handles.h"

namespace fake_ort {
namespace {

OrtStatus* TensorOf(const OrtTypeInfo* info, const OrtTensorTypeAndShapeInfo** out) {
  FRN_ENTER("CastTypeInfoToTensorInfo");
  Live(info, "type info");
  *out = info->is_tensor ? &info->tensor : nullptr;
  return nullptr;
}

OrtStatus* CreateInfo(OrtTensorTypeAndShapeInfo** out) {
  FRN_ENTER("CreateTensorTypeAndShapeInfo");
  *out = new OrtTensorTypeAndShapeInfo;
  return nullptr;
}

OrtStatus* SetType(OrtTensorTypeAndShapeInfo* info, ElementType type) {
  FRN_ENTER("SetTensorElementType");
  Live(info, "shape info");
  info->type.type = type;
  return nullptr;
}

OrtStatus* SetDims(OrtTensorTypeAndShapeInfo* info, const int64_t* dims, size_t count) {
  FRN_ENTER("SetDimensions");
  Live(info, "shape info");
  info->type.dims.assign(dims, dims + count);
  return nullptr;
}

OrtStatus* SetNames(OrtTensorTypeAndShapeInfo* info, const char* names[], size_t count) {
  FRN_ENTER("SetSymbolicDimensions");
  Live(info, "shape info");
  info->type.names.assign(names, names + count);
  return nullptr;
}

OrtStatus* TypeOf(const OrtTensorTypeAndShapeInfo* info, ElementType* out) {
  FRN_ENTER("GetTensorElementType");
  Live(info, "shape info");
  *out = info->type.type;
  return nullptr;
}

OrtStatus* RankOf(const OrtTensorTypeAndShapeInfo* info, size_t* out) {
  FRN_ENTER("GetDimensionsCount");
  Live(info, "shape info");
  *out = info->type.dims.size();
  return nullptr;
}

OrtStatus* DimsOf(const OrtTensorTypeAndShapeInfo* info, int64_t* dims, size_t count) {
  FRN_ENTER("GetDimensions");
  Live(info, "shape info");
  if (count > info->type.dims.size()) Broken("GetDimensions", "more than there are");
  for (size_t i = 0; i < count; ++i) dims[i] = info->type.dims[i];
  return nullptr;
}

OrtStatus* NamesOf(const OrtTensorTypeAndShapeInfo* info, const char* names[], size_t count) {
  FRN_ENTER("GetSymbolicDimensions");
  Live(info, "shape info");
  if (count > info->type.dims.size()) Broken("GetSymbolicDimensions", "more than there are");
  for (size_t i = 0; i < count; ++i) {
    names[i] = i < info->type.names.size() ? info->type.names[i].c_str() : "";
  }
  return nullptr;
}

OrtStatus* InfoOf(const OrtValue* value, OrtTensorTypeAndShapeInfo** out) {
  FRN_ENTER("GetTensorTypeAndShape");
  Live(value, "value");
  *out = new OrtTensorTypeAndShapeInfo;
  (*out)->type = {value->type, value->dims, {}};
  return nullptr;
}

OrtStatus* DataOf(OrtValue* value, void** out) {
  FRN_ENTER("GetTensorMutableData");
  Live(value, "value");
  *out = value->data;
  return nullptr;
}

}  // namespace

void FillTensorCalls(OrtApi* api) {
  api->GetTensorMutableData = DataOf;
  api->CastTypeInfoToTensorInfo = TensorOf;
  api->CreateTensorTypeAndShapeInfo = CreateInfo;
  api->SetTensorElementType = SetType;
  api->SetDimensions = SetDims;
  api->GetTensorElementType = TypeOf;
  api->GetDimensionsCount = RankOf;
  api->GetDimensions = DimsOf;
  api->GetSymbolicDimensions = NamesOf;
  api->GetTensorTypeAndShape = InfoOf;
  api->SetSymbolicDimensions = SetNames;
}

}  // namespace fake_ort
