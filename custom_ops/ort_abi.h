// The slice of ONNX Runtime's C ABI that this plugin uses, under the official names.
//
// OrtApi is a table of function pointers that only ever grows at its end, so a slot's index and
// signature are facts that hold for every ONNX Runtime from the version that added it. Slots not
// used here are counted (`unused_<first>`), not named. tests/abi_conformance.cc compiles
// static_asserts of every slot, signature, constant and of OrtCustomOp against the official header.
//
// Everything here is in ABI version 18 (ONNX Runtime 1.18): the newest slot of OrtApi is
// KernelContext_ParallelFor (17), the newest of OrtCustomOp is ReleaseAliasMap (18).

#ifndef FRN_ONNX_ORT_ABI_H_
#define FRN_ONNX_ORT_ABI_H_

#include <cstddef>
#include <cstdint>

// The conformance test defines this to read the declarations below with the official types.
#ifndef FRN_ONNX_ORT_ABI_OFFICIAL_TYPES

extern "C" {

struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;

using OrtStatusPtr = OrtStatus*;

enum OrtErrorCode {
  ORT_OK = 0,
  ORT_FAIL = 1,
  ORT_INVALID_ARGUMENT = 2,
  ORT_NO_SUCHFILE = 3,
  ORT_NO_MODEL = 4,
  ORT_ENGINE_ERROR = 5,
  ORT_RUNTIME_EXCEPTION = 6,
  ORT_INVALID_PROTOBUF = 7,
  ORT_MODEL_LOADED = 8,
  ORT_NOT_IMPLEMENTED = 9,
  ORT_INVALID_GRAPH = 10,
  ORT_EP_FAIL = 11,
};

enum OrtMemType { OrtMemTypeDefault = 0 };

enum OrtCustomOpInputOutputCharacteristic { INPUT_OUTPUT_REQUIRED = 0, INPUT_OUTPUT_OPTIONAL = 1 };

enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 = 3,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16 = 4,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16 = 5,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING = 8,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL = 9,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32 = 12,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64 = 13,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 = 16,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN = 17,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ = 18,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2 = 19,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ = 20,
};

}  // extern "C"

#endif  // FRN_ONNX_ORT_ABI_OFFICIAL_TYPES

// The version that all of this is in, so also the oldest ONNX Runtime (1.18) that the library works
// with. Newer ones keep to it.
constexpr uint32_t kAbiVersion = 18;

extern "C" {

struct OrtCustomOp;

// clang-format off
struct OrtApi {
  /*   0 */ OrtStatus* (*CreateStatus)(OrtErrorCode code, const char* message);
  /*   1 */ OrtErrorCode (*GetErrorCode)(const OrtStatus* status);
  /*   2 */ const char* (*GetErrorMessage)(const OrtStatus* status);
  void* unused_3[26 - 3];
  /*  26 */ OrtStatusPtr (*CreateCustomOpDomain)(const char* domain, OrtCustomOpDomain** out);
  /*  27 */ OrtStatusPtr (*CustomOpDomain_Add)(OrtCustomOpDomain* domain, const OrtCustomOp* op);
  /*  28 */ OrtStatusPtr (*AddCustomOpDomain)(OrtSessionOptions* options, OrtCustomOpDomain* domain);
  void* unused_29[51 - 29];
  /*  51 */ OrtStatusPtr (*GetTensorMutableData)(OrtValue* value, void** out);
  void* unused_52[55 - 52];
  /*  55 */ OrtStatusPtr (*CastTypeInfoToTensorInfo)(const OrtTypeInfo* type, const OrtTensorTypeAndShapeInfo** out);
  void* unused_56[57 - 56];
  /*  57 */ OrtStatusPtr (*CreateTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo** out);
  /*  58 */ OrtStatusPtr (*SetTensorElementType)(OrtTensorTypeAndShapeInfo* info, ONNXTensorElementDataType type);
  /*  59 */ OrtStatusPtr (*SetDimensions)(OrtTensorTypeAndShapeInfo* info, const int64_t* dims, size_t count);
  /*  60 */ OrtStatusPtr (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo* info, ONNXTensorElementDataType* out);
  /*  61 */ OrtStatusPtr (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo* info, size_t* out);
  /*  62 */ OrtStatusPtr (*GetDimensions)(const OrtTensorTypeAndShapeInfo* info, int64_t* dims, size_t count);
  /*  63 */ OrtStatusPtr (*GetSymbolicDimensions)(const OrtTensorTypeAndShapeInfo* info, const char* dim_params[], size_t count);
  void* unused_64[65 - 64];
  /*  65 */ OrtStatusPtr (*GetTensorTypeAndShape)(const OrtValue* value, OrtTensorTypeAndShapeInfo** out);
  void* unused_66[85 - 66];
  /*  85 */ OrtStatusPtr (*KernelInfoGetAttribute_float)(const OrtKernelInfo* info, const char* name, float* out);
  /*  86 */ OrtStatusPtr (*KernelInfoGetAttribute_int64)(const OrtKernelInfo* info, const char* name, int64_t* out);
  void* unused_87[88 - 87];
  /*  88 */ OrtStatusPtr (*KernelContext_GetInputCount)(const OrtKernelContext* context, size_t* out);
  void* unused_89[90 - 89];
  /*  90 */ OrtStatusPtr (*KernelContext_GetInput)(const OrtKernelContext* context, size_t index, const OrtValue** out);
  /*  91 */ OrtStatusPtr (*KernelContext_GetOutput)(OrtKernelContext* context, size_t index, const int64_t* dims, size_t count, OrtValue** out);
  void* unused_92[93 - 92];
  /*  93 */ void (*ReleaseStatus)(OrtStatus* status);
  void* unused_94[98 - 94];
  /*  98 */ void (*ReleaseTypeInfo)(OrtTypeInfo* info);
  /*  99 */ void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo* info);
  void* unused_100[101 - 100];
  /* 101 */ void (*ReleaseCustomOpDomain)(OrtCustomOpDomain* domain);
  void* unused_102[130 - 102];
  /* 130 */ OrtStatusPtr (*AddSessionConfigEntry)(OrtSessionOptions* options, const char* key, const char* value);
  void* unused_131[163 - 131];
  /* 163 */ OrtStatusPtr (*KernelInfoGetAttributeArray_int64)(const OrtKernelInfo* info, const char* name, int64_t* out, size_t* size);
  void* unused_164[193 - 164];
  /* 193 */ OrtStatusPtr (*KernelContext_GetGPUComputeStream)(const OrtKernelContext* context, void** out);
  void* unused_194[230 - 194];
  /* 230 */ OrtStatusPtr (*KernelInfo_GetInputCount)(const OrtKernelInfo* info, size_t* out);
  void* unused_231[232 - 231];
  /* 232 */ OrtStatusPtr (*KernelInfo_GetInputName)(const OrtKernelInfo* info, size_t index, char* out, size_t* size);
  void* unused_233[234 - 233];
  /* 234 */ OrtStatusPtr (*KernelInfo_GetInputTypeInfo)(const OrtKernelInfo* info, size_t index, OrtTypeInfo** out);
  void* unused_235[237 - 235];
  /* 237 */ OrtStatusPtr (*HasSessionConfigEntry)(const OrtSessionOptions* options, const char* key, int* out);
  void* unused_238[244 - 238];
  /* 244 */ OrtStatusPtr (*KernelInfo_GetNodeName)(const OrtKernelInfo* info, char* out, size_t* size);
  void* unused_245[249 - 245];
  /* 249 */ OrtStatusPtr (*KernelInfoGetConstantInput_tensor)(const OrtKernelInfo* info, size_t index, int* is_constant, const OrtValue** out);
  void* unused_250[268 - 250];
  /* 268 */ OrtStatusPtr (*ShapeInferContext_GetInputTypeShape)(const OrtShapeInferContext* context, size_t index, OrtTensorTypeAndShapeInfo** out);
  void* unused_269[270 - 269];
  /* 270 */ OrtStatusPtr (*ShapeInferContext_SetOutputTypeShape)(const OrtShapeInferContext* context, size_t index, const OrtTensorTypeAndShapeInfo* info);
  /* 271 */ OrtStatusPtr (*SetSymbolicDimensions)(OrtTensorTypeAndShapeInfo* info, const char* dim_params[], size_t count);
  void* unused_272[274 - 272];
  /* 274 */ OrtStatusPtr (*KernelContext_ParallelFor)(const OrtKernelContext* context, void (*fn)(void*, size_t), size_t total, size_t num_batch, void* user_data);
};
// clang-format on

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

struct OrtCustomOp {
  uint32_t version;  // of the ABI this struct is filled in for
  void* (*CreateKernel)(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info);
  const char* (*GetName)(const OrtCustomOp* op);
  const char* (*GetExecutionProviderType)(const OrtCustomOp* op);
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp* op, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp* op);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp* op, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp* op);
  void (*KernelCompute)(void* kernel, OrtKernelContext* context);
  void (*KernelDestroy)(void* kernel);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp* op,
                                                                 size_t index);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp* op,
                                                                  size_t index);
  OrtMemType (*GetInputMemoryType)(const OrtCustomOp* op, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp* op);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp* op);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp* op);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp* op);
  OrtStatusPtr (*CreateKernelV2)(const OrtCustomOp* op, const OrtApi* api,
                                 const OrtKernelInfo* info, void** kernel);
  OrtStatusPtr (*KernelComputeV2)(void* kernel, OrtKernelContext* context);
  OrtStatusPtr (*InferOutputShapeFn)(const OrtCustomOp* op, OrtShapeInferContext* context);
  int (*GetStartVersion)(const OrtCustomOp* op);
  int (*GetEndVersion)(const OrtCustomOp* op);
  size_t (*GetMayInplace)(int** input_index, int** output_index);  // new in 18, as all below
  void (*ReleaseMayInplace)(int* input_index, int* output_index);
  size_t (*GetAliasMap)(int** input_index, int** output_index);
  void (*ReleaseAliasMap)(int* input_index, int* output_index);
};

}  // extern "C"

#endif  // FRN_ONNX_ORT_ABI_H_
