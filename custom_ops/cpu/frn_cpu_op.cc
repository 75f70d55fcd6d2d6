// The CPU kernels as ONNX Runtime custom ops, one per element type.

#include <type_traits>
#include <vector>

#include "cpu/cpu_target.h"
#include "cpu/element.h"
#include "cpu/frn_cpu.h"
#include "frn_op.h"

namespace frn {
namespace {

// ONNX Runtime's own thread pool, the one the session's other kernels run on.
class OrtExecutor : public Executor {
 public:
  OrtExecutor(const OrtApi& api, const OrtKernelContext* context) : api_(api), context_(context) {}

  void Run(int64_t count, void (*task)(void*, int64_t), void* self) override {
    struct Call {
      void (*task)(void*, int64_t);
      void* self;
    } call{task, self};
    const auto run = [](void* data, size_t i) {
      const Call& call = *static_cast<const Call*>(data);
      call.task(call.self, static_cast<int64_t>(i));
    };
    Check(api_,
          api_.KernelContext_ParallelFor(context_, run, static_cast<size_t>(count), 0, &call));
  }

 private:
  const OrtApi& api_;
  const OrtKernelContext* context_;
};

template <class T>
class CpuKernel {
  using A = ComputeType<T>;

 public:
  CpuKernel(const OrtApi& api, FrnNode node)
      : api_(api), node_(node), kernels_(KernelsOf(*SelectCpuTarget().kernels, T{})) {}

  void Compute(OrtKernelContext* context) const {
    const FrnTensors tensors = ReadTensors(api_, node_, context);
    const int64_t channels = tensors.shape.channels;
    std::vector<A> converted[kInputCount];
    FrnParams<A> params;
    params.epsilon_scalar = static_cast<A>(node_.epsilon);
    const A** slots[kInputCount] = {nullptr, &params.gamma, &params.beta, &params.tau,
                                    &params.epsilon};
    for (size_t i = kGamma; i < kInputCount; ++i) {
      *slots[i] = Widen(tensors.inputs[i], node_.types[i], channels, &converted[i]);
    }
    OrtExecutor executor(api_, context);
    ComputeFrn<T>(kernels_, tensors.shape, static_cast<const T*>(tensors.inputs[kX]),
                  static_cast<T*>(tensors.y), params, executor);
  }

 private:
  // A parameter in the compute type; nullptr for nullptr.
  const A* Widen(const void* values, ONNXTensorElementDataType type, int64_t count,
                 std::vector<A>* storage) const {
    if (values == nullptr) return nullptr;
    if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
      return WidenFrom(static_cast<const float*>(values), count, storage);
    }
    return WidenFrom(static_cast<const T*>(values), count, storage);
  }

  template <class From>
  const A* WidenFrom(const From* values, int64_t count, std::vector<A>* storage) const {
    if constexpr (std::is_same_v<From, A>) {
      return values;
    } else {
      storage->resize(count);
      for (int64_t i = 0; i < count; ++i) (*storage)[i] = static_cast<A>(ToDouble(values[i]));
      return storage->data();
    }
  }

  const OrtApi& api_;
  FrnNode node_;
  const Kernels<T>& kernels_;
};

// Claims the element types without a kernel, so that a model with one of them gets ReadNode's
// message, which lists the supported ones, and not ONNX Runtime's "no kernel def matches".
class NoKernel {
 public:
  NoKernel(const OrtApi&, const FrnNode&) { throw FrnError("FRN: unsupported element type"); }
  void Compute(OrtKernelContext*) const {}
};

constexpr ONNXTensorElementDataType kOtherTypes[] = {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,       ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,       ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,         ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2,   ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
};

}  // namespace

void AppendCpuOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops) {
  const auto add = [&](auto make, ONNXTensorElementDataType type) {
    ops->push_back(make(runtime, type, nullptr));
  };
  add(MakeFrnOp<CpuKernel<float>>, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
  add(MakeFrnOp<CpuKernel<F16>>, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
  add(MakeFrnOp<CpuKernel<BF16>>, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16);
  add(MakeFrnOp<CpuKernel<double>>, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE);
  for (ONNXTensorElementDataType type : kOtherTypes) add(MakeFrnOp<NoKernel>, type);
}

}  // namespace frn
