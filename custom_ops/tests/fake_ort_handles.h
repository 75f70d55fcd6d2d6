// What is behind the opaque types of ort_abi.h in the stand-in of ONNX Runtime.

#ifndef FRN_ONNX_TESTS_FAKE_ORT_HANDLES_H_
#define FRN_ONNX_TESTS_FAKE_ORT_HANDLES_H_

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "tests/fake_ort.h"

// The lines that every call begins with.
#define FRN_ENTER(call) \
  const Inside guard;   \
  if (OrtStatus* failed = Enter(call)) return failed

namespace fake_ort {

[[noreturn]] void Broken(const char* call, const std::string& rule);
OrtStatus* Fail(OrtErrorCode code, const std::string& message);
OrtStatus* Enter(const char* call);
void FillTensorCalls(OrtApi* api);
void FillNodeCalls(OrtApi* api);
void RunTasks(Order order, void (*fn)(void*, size_t), size_t total, void* data);

constexpr uint64_t kAlive = 0x6672'6e5f'6f6e'6e78;

// Tells a handle that is alive from one that is not.
struct Mark {
  uint64_t mark = kAlive;
  ~Mark() { *const_cast<volatile uint64_t*>(&mark) = 0; }
};
// One that the plugin is given and must release.
struct Handle : Mark {
  static inline std::atomic<int64_t> live{0};
  Handle() { ++live; }
  Handle(const Handle&) { ++live; }
  ~Handle() { --live; }
};

}  // namespace fake_ort

struct OrtStatus : fake_ort::Handle {
  OrtErrorCode code = ORT_FAIL;
  std::string message;
};

struct OrtTensorTypeAndShapeInfo : fake_ort::Handle {
  fake_ort::TensorType type;
  bool owned = true;  // by the plugin, not by a type info or a context
};

struct OrtTypeInfo : fake_ort::Handle {
  bool is_tensor = true;
  OrtTensorTypeAndShapeInfo tensor;
};

struct OrtCustomOpDomain : fake_ort::Handle {
  std::string name;
  std::vector<const OrtCustomOp*> ops;
};

struct OrtSessionOptions : fake_ort::Mark {
  std::vector<OrtCustomOpDomain*> domains;
  std::set<std::string> entries;
};

struct OrtValue : fake_ort::Mark {
  fake_ort::ElementType type;
  fake_ort::Dims dims;
  void* data;
};

struct OrtKernelInfo : fake_ort::Mark {
  const fake_ort::Node* node;
  std::vector<OrtValue> constants;  // one for each input
};

struct OrtKernelContext : fake_ort::Mark {
  const fake_ort::Node* node;
  fake_ort::Order order;
  std::vector<OrtValue> inputs;
  std::vector<OrtValue> y;  // none or one
};

struct OrtShapeInferContext : fake_ort::Mark {
  std::vector<OrtTensorTypeAndShapeInfo> inputs;
  mutable std::optional<fake_ort::TensorType> y;  // the call that sets it takes a const context
};

namespace fake_ort {

// Ends the program unless `handle` is alive.
template <class T>
void Live(const T* handle, const char* what) {
  if (handle == nullptr) Broken(what, "is nullptr");
  if (*const_cast<const volatile uint64_t*>(&handle->mark) != kAlive) Broken(what, "is not alive");
}

}  // namespace fake_ort

#endif  // FRN_ONNX_TESTS_FAKE_ORT_HANDLES_H_
