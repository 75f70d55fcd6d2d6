// The CPU kernels as ONNX Runtime custom ops, one per element type.

#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cpu/cpu_target.h"
#include "cpu/frn_cpu.h"
#include "cpu/machine.h"
#include "cpu/ort_executor.h"
#include "frn_op.h"
#include "onnx_type.h"

namespace frn {
namespace {

// A parameter's values in the compute type A of T, at any address; nullptr for nullptr. Where they
// are of another type, they are put into `storage`.
template <class T, class A = ComputeType<T>>
const A* Widen(const Kernels<T>& kernels, const void* values, ONNXTensorElementDataType type,
               int64_t count, std::unique_ptr<A[]>* storage) {
  if (values == nullptr || type == kOnnxType<A>) return static_cast<const A*>(values);
  storage->reset(new A[count]);
  if (type == kOnnxType<T>) {
    kernels.widen(static_cast<const T*>(values), count, storage->get());
  } else {  // double computes in double, and its parameters may be float
    const char* bytes = static_cast<const char*>(values);
    for (int64_t i = 0; i < count; ++i) {
      float value;
      std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
      (*storage)[i] = value;
    }
  }
  return storage->get();
}

template <class T>
class CpuKernel {
  using A = ComputeType<T>;

 public:
  using Node = FrnNode;

  CpuKernel(const OrtApi& api, FrnNode node)
      : api_(api), node_(std::move(node)), kernels_(KernelsOf(*SelectCpuTarget().kernels, T{})) {
    FrnParamData data{};
    for (Role role : kParameterRoles) {
      if (!node_.Has(role)) continue;
      if (node_.constants[role].value == nullptr) return;
      data[role] = DataOf(api_, node_.constants[role].value);
    }
    constant_.emplace(Prepare(data, node_.constants[kGamma].dims[0]));
  }

  void Compute(OrtKernelContext* context) const {
    const FrnTensors tensors = ReadTensors(api_, node_, context);
    OrtExecutor executor(api_, context, threads_);
    const auto compute = [&](const Parameters<A>& params) {
      ComputeFrn<T>(kernels_, tensors.shape, static_cast<const T*>(tensors.x),
                    static_cast<const T*>(tensors.residual), static_cast<T*>(tensors.y), params,
                    executor);
    };
    if (constant_.has_value()) {
      compute(*constant_);
    } else {
      compute(Prepare(ReadParams(api_, node_, tensors.dims, context), tensors.shape.channels));
    }
  }

 private:
  Parameters<A> Prepare(const FrnParamData& data, int64_t channels) const {
    std::unique_ptr<A[]> storage[kRoles];
    const auto widened = [&](Role role) {
      return Widen(kernels_, data[role], node_.types[role], channels, &storage[role]);
    };
    FrnParams<A> params;
    params.gamma = widened(kGamma);
    params.beta = widened(kBeta);
    params.tau = widened(kTau);
    params.epsilon = widened(kEpsilon);
    params.epsilon_scalar = static_cast<A>(node_.epsilon);
    return PrepareParameters(kernels_, params, channels);
  }

  const OrtApi& api_;
  FrnNode node_;
  const Kernels<T>& kernels_;
  const int64_t threads_ = AvailableThreads();  // of the pool, which ONNX Runtime does not tell
  std::optional<Parameters<A>> constant_;       // where all parameters are the same in every run
};

// Claims the element types without a kernel, so that a model with one of them gets ReadNode's
// message, which lists the supported ones, and not ONNX Runtime's "no kernel def matches".
class NoKernel {
 public:
  using Node = FrnNode;

  NoKernel(const OrtApi&, const FrnNode&) { throw FrnError("FRN: unsupported element type"); }
  void Compute(OrtKernelContext*) const {}
};

template <class... T>
void Append(TypeList<T...>, const OrtRuntime& runtime, const OpType& op_type,
            std::vector<FrnCustomOp>* ops) {
  (ops->push_back(MakeFrnOp<CpuKernel<T>>(runtime, op_type, kOnnxType<T>, nullptr)), ...);
}

}  // namespace

void AppendCpuOps(const OrtRuntime& runtime, std::vector<FrnCustomOp>* ops) {
  for (const OpType* op_type : kOpTypes) {
    Append(ElementTypes{}, runtime, *op_type, ops);
    for (const OnnxTypeName& other : kOnnxTypeNames) {
      if (IsElementType(other.type)) continue;
      ops->push_back(MakeFrnOp<NoKernel>(runtime, *op_type, other.type, nullptr));
    }
  }
}

}  // namespace frn
