// The element types of tensors: ONNX's, and which of them X may have.

#ifndef FRN_ONNX_ONNX_TYPE_H_
#define FRN_ONNX_ONNX_TYPE_H_

#include <algorithm>
#include <array>
#include <string>

#include "cpu/element.h"
#include "ort_abi.h"

namespace frn {

template <class T>
constexpr auto kOnnxType = static_cast<ONNXTensorElementDataType>(Element<T>::kOnnxType);

template <class... T>
constexpr std::array<ONNXTensorElementDataType, sizeof...(T)> OnnxTypesOf(TypeList<T...>) {
  return {kOnnxType<T>...};
}

// Those that X may have.
constexpr auto kElementTypes = OnnxTypesOf(ElementTypes{});

inline bool IsElementType(ONNXTensorElementDataType type) {
  return std::find(kElementTypes.begin(), kElementTypes.end(), type) != kElementTypes.end();
}

struct OnnxTypeName {
  ONNXTensorElementDataType type;
  const char* name;
};

constexpr std::array<OnnxTypeName, 18> kOnnxTypeNames = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, "uint8"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, "int8"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, "uint16"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, "int16"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, "int32"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, "int64"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, "string"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, "bool"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, "float16"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, "double"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, "uint32"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, "uint64"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, "bfloat16"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN, "float8e4m3fn"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ, "float8e4m3fnuz"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2, "float8e5m2"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ, "float8e5m2fnuz"},
}};

// "float16"; "type 42" for a number that is not in the table.
inline std::string TypeName(ONNXTensorElementDataType type) {
  for (const OnnxTypeName& known : kOnnxTypeNames) {
    if (known.type == type) return known.name;
  }
  return "type " + std::to_string(static_cast<int>(type));
}

}  // namespace frn

#endif  // FRN_ONNX_ONNX_TYPE_H_
