// Compiles if ort_abi.h says what the official onnxruntime_c_api.h says. Never run.
//
// ort_abi.h is read twice: as it is, for its constants, and with the official types in place of its
// own, so that the signatures of both can be compared.

#include <onnxruntime_c_api.h>

#include <cstddef>
#include <type_traits>

namespace own {
#include "ort_abi.h"
}  // namespace own

#undef FRN_ONNX_ORT_ABI_H_
#define FRN_ONNX_ORT_ABI_OFFICIAL_TYPES
namespace typed {
#include "ort_abi.h"
}  // namespace typed

namespace {

static_assert(ORT_API_VERSION >= 18, "the official header is older than ort_abi.h");

// The official pointers are noexcept, which converts to what ort_abi.h has. OrtCustomOp and OrtApi
// themselves appear in signatures, and are two types: those are compared by reinterpretation below.
template <class Official, class Own>
constexpr bool kSameSignature = std::is_convertible_v<Official, Own>;

#define FRN_SLOT(name)                                                             \
  static_assert(offsetof(::OrtApi, name) == offsetof(typed::OrtApi, name), #name); \
  static_assert(kSameSignature<decltype(::OrtApi::name), decltype(typed::OrtApi::name)>, #name)

FRN_SLOT(CreateStatus);
FRN_SLOT(GetErrorCode);
FRN_SLOT(GetErrorMessage);
FRN_SLOT(CreateCustomOpDomain);
FRN_SLOT(AddCustomOpDomain);
FRN_SLOT(GetTensorMutableData);
FRN_SLOT(CastTypeInfoToTensorInfo);
FRN_SLOT(CreateTensorTypeAndShapeInfo);
FRN_SLOT(SetTensorElementType);
FRN_SLOT(SetDimensions);
FRN_SLOT(GetTensorElementType);
FRN_SLOT(GetDimensionsCount);
FRN_SLOT(GetDimensions);
FRN_SLOT(GetSymbolicDimensions);
FRN_SLOT(GetTensorTypeAndShape);
FRN_SLOT(KernelInfoGetAttribute_float);
FRN_SLOT(KernelInfoGetAttribute_int64);
FRN_SLOT(KernelContext_GetInputCount);
FRN_SLOT(KernelContext_GetInput);
FRN_SLOT(KernelContext_GetOutput);
FRN_SLOT(ReleaseStatus);
FRN_SLOT(ReleaseTypeInfo);
FRN_SLOT(ReleaseTensorTypeAndShapeInfo);
FRN_SLOT(ReleaseCustomOpDomain);
FRN_SLOT(AddSessionConfigEntry);
FRN_SLOT(KernelInfoGetAttributeArray_int64);
FRN_SLOT(KernelContext_GetGPUComputeStream);
FRN_SLOT(KernelInfo_GetInputCount);
FRN_SLOT(KernelInfo_GetInputName);
FRN_SLOT(KernelInfo_GetInputTypeInfo);
FRN_SLOT(HasSessionConfigEntry);
FRN_SLOT(KernelInfo_GetNodeName);
FRN_SLOT(ShapeInferContext_GetInputTypeShape);
FRN_SLOT(ShapeInferContext_SetOutputTypeShape);
FRN_SLOT(SetSymbolicDimensions);
FRN_SLOT(KernelContext_ParallelFor);
#undef FRN_SLOT

// Takes an OrtCustomOp, one of the two types, by pointer.
static_assert(offsetof(::OrtApi, CustomOpDomain_Add) ==
              offsetof(typed::OrtApi, CustomOpDomain_Add));

static_assert(offsetof(::OrtApiBase, GetApi) == offsetof(typed::OrtApiBase, GetApi));
static_assert(offsetof(::OrtApiBase, GetVersionString) ==
              offsetof(typed::OrtApiBase, GetVersionString));

// Fields of OrtCustomOp: the same place; the same signature with `const OrtCustomOp*` alike.
template <class Function>
struct Erased;
template <class R, class... Args>
struct Erased<R (*)(Args...)> {
  template <class Arg>
  using Plain = std::conditional_t<
      std::is_same_v<Arg, const ::OrtCustomOp*> || std::is_same_v<Arg, const typed::OrtCustomOp*> ||
          std::is_same_v<Arg, const ::OrtApi*> || std::is_same_v<Arg, const typed::OrtApi*>,
      const void*, Arg>;
  using type = R (*)(Plain<Args>...);
};
template <class A, class B>
constexpr bool kSameErased = std::is_same_v<typename Erased<A>::type, typename Erased<B>::type>;

#define FRN_FIELD(name)                                                                         \
  static_assert(offsetof(::OrtCustomOp, name) == offsetof(typed::OrtCustomOp, name), #name);    \
  static_assert(kSameErased<decltype(::OrtCustomOp::name), decltype(typed::OrtCustomOp::name)>, \
                #name)

FRN_FIELD(CreateKernel);
FRN_FIELD(GetName);
FRN_FIELD(GetExecutionProviderType);
FRN_FIELD(GetInputType);
FRN_FIELD(GetInputTypeCount);
FRN_FIELD(GetOutputType);
FRN_FIELD(GetOutputTypeCount);
FRN_FIELD(KernelCompute);
FRN_FIELD(KernelDestroy);
FRN_FIELD(GetInputCharacteristic);
FRN_FIELD(GetOutputCharacteristic);
FRN_FIELD(GetInputMemoryType);
FRN_FIELD(GetVariadicInputMinArity);
FRN_FIELD(GetVariadicInputHomogeneity);
FRN_FIELD(GetVariadicOutputMinArity);
FRN_FIELD(GetVariadicOutputHomogeneity);
FRN_FIELD(CreateKernelV2);
FRN_FIELD(KernelComputeV2);
FRN_FIELD(InferOutputShapeFn);
FRN_FIELD(GetStartVersion);
FRN_FIELD(GetEndVersion);
FRN_FIELD(GetMayInplace);
FRN_FIELD(ReleaseMayInplace);
FRN_FIELD(GetAliasMap);
FRN_FIELD(ReleaseAliasMap);
#undef FRN_FIELD

static_assert(sizeof(::OrtCustomOp) >= sizeof(typed::OrtCustomOp));

#define FRN_CONSTANT(name) \
  static_assert(static_cast<int>(::name) == static_cast<int>(own::name), #name)

FRN_CONSTANT(ORT_OK);
FRN_CONSTANT(ORT_FAIL);
FRN_CONSTANT(ORT_INVALID_ARGUMENT);
FRN_CONSTANT(OrtMemTypeDefault);
FRN_CONSTANT(INPUT_OUTPUT_REQUIRED);
FRN_CONSTANT(INPUT_OUTPUT_OPTIONAL);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2);
FRN_CONSTANT(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ);
#undef FRN_CONSTANT

}  // namespace
