// Arrays of other libraries, through DLPack: the struct of its ABI (dmlc.github.io/dlpack, version
// 0.x, which every producer still gives), and a Python object that holds one.

#ifndef FRN_ONNX_CUDA_DLPACK_H_
#define FRN_ONNX_CUDA_DLPACK_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "frn_shape.h"

namespace frn {

namespace dlpack {

struct Device {
  int32_t type;  // 1: CPU, 2: CUDA, 3: pinned host memory, 13: CUDA managed memory
  int32_t ordinal;
};
struct DataType {
  uint8_t code;  // 0: int, 1: unsigned, 2: float, 4: bfloat
  uint8_t bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t rank;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; nullptr: C-contiguous
  uint64_t byte_offset;
};
struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);  // may be nullptr
};

}  // namespace dlpack

// Takes what x.__dlpack__() returned, and keeps x's memory alive.
class DlpackArray {
 public:
  explicit DlpackArray(const pybind11::capsule& capsule) {
    managed_ = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kFresh));
    if (managed_ == nullptr) throw pybind11::error_already_set();
    PyCapsule_SetName(capsule.ptr(), kUsed);  // the deleter is ours to call now
  }
  ~DlpackArray() {
    if (managed_ != nullptr && managed_->deleter != nullptr) managed_->deleter(managed_);
  }
  DlpackArray(DlpackArray&& other) noexcept : managed_(other.managed_) { other.managed_ = nullptr; }
  DlpackArray(const DlpackArray&) = delete;
  DlpackArray& operator=(const DlpackArray&) = delete;

  uintptr_t address() const {
    return reinterpret_cast<uintptr_t>(tensor().data) + tensor().byte_offset;
  }
  Dims shape() const { return Dims(tensor().shape, tensor().shape + tensor().rank); }
  pybind11::tuple device() const {
    return pybind11::make_tuple(tensor().device.type, tensor().device.ordinal);
  }
  // As NumPy and ml_dtypes name it.
  std::string dtype() const {
    const dlpack::DataType type = tensor().dtype;
    const char* kinds[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
    const char* kind = type.code < 7 ? kinds[type.code] : "unknown";
    return kind + std::to_string(type.bits) +
           (type.lanes == 1 ? "" : "x" + std::to_string(type.lanes));
  }
  bool contiguous() const {
    if (tensor().strides == nullptr) return true;
    int64_t expected = 1;
    for (int32_t axis = tensor().rank - 1; axis >= 0; --axis) {
      const int64_t size = tensor().shape[axis];
      if (size == 0) return true;
      if (size != 1 && tensor().strides[axis] != expected) return false;
      expected *= size;
    }
    return true;
  }

 private:
  static constexpr char kFresh[] = "dltensor", kUsed[] = "used_dltensor";
  const dlpack::Tensor& tensor() const { return managed_->tensor; }
  dlpack::ManagedTensor* managed_;
};

}  // namespace frn

#endif  // FRN_ONNX_CUDA_DLPACK_H_
