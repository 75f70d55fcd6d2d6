// The Python module `_native`: the CPU kernels on NumPy arrays, and what the build holds. Thin on
// purpose; frn_onnx/runtime/arrays.py checks and copies. Signatures: frn_onnx/_native.pyi.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "cpu/cpu_target.h"
#include "cpu/element.h"
#include "cpu/frn_cpu.h"
#include "cpu/shared_team.h"
#include "frn_op.h"
#include "frn_shape.h"
#include "onnx_type.h"
#ifdef FRN_ONNX_WITH_CUDA
#include "cuda/bind.h"
#include "cuda/cuda_info.h"
#endif

namespace py = pybind11;

namespace frn {
namespace {

void CheckThreads(int threads) {
  if (threads >= 0) return;
  throw FrnError("FRN: threads must be positive, or 0 for all, received " +
                 std::to_string(threads) + ".");
}

// Without the GIL. A thread that comes back when the interpreter is being shut down is ended by
// CPython, by unwinding: it must not reach C++ frames, whose destructors would do without the GIL
// what needs it, and end the process. So it waits for the end of the process here.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      while (true) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

// What is shorter than this keeps the GIL, for some ten microseconds: whoever gives it away gets it
// back when a thread that runs Python has had it for 5 ms.
constexpr py::ssize_t kShortBytes = 64 * 1024;

template <class A>
using Param = py::array_t<A, py::array::c_style>;

// pybind11 takes dtypes of either byte order for the same.
void CheckByteOrder(const char* name, const py::array& array) {
  constexpr char kForeign = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<';
  const py::dtype dtype = array.dtype();
  if (dtype.byteorder() != kForeign) return;
  throw FrnError(std::string("FRN: ") + name +
                 " must be in the machine's byte order, received dtype " +
                 std::string(py::str(dtype)) + ". Convert it with " + name + ".astype(" + name +
                 ".dtype.newbyteorder('=')).");
}

template <class A>
const A* ParamData(const char* name, const py::object& value, int64_t channels) {
  if (py::isinstance<py::array>(value))
    CheckByteOrder(name, py::reinterpret_borrow<py::array>(value));
  if (!Param<A>::check_(value)) {
    throw FrnError(std::string("FRN: ") + name + " must be a contiguous array of " +
                   (sizeof(A) == 4 ? "float32" : "float64") + ", received " +
                   std::string(py::str(py::type::of(value))) + ".");
  }
  const auto array = py::reinterpret_borrow<Param<A>>(value);
  if (array.ndim() != 1 || array.shape(0) != channels) {
    throw FrnError(std::string("FRN: ") + name + " must have shape (" + std::to_string(channels) +
                   ",), received " + ToString(Dims(array.shape(), array.shape() + array.ndim())) +
                   ".");
  }
  return array.data();
}

// Of the same type and shape, and C-contiguous.
bool IsLike(const py::array& array, const py::array& x) {
  return array.dtype().num() == x.dtype().num() && (array.flags() & py::array::c_style) != 0 &&
         array.ndim() == x.ndim() &&
         std::equal(array.shape(), array.shape() + array.ndim(), x.shape());
}

// "float32 of shape (2, 3), not C-contiguous"
std::string Describe(const py::array& array) {
  return std::string(py::str(array.dtype().attr("name"))) + " of shape " +
         ToString(Dims(array.shape(), array.shape() + array.ndim())) +
         ((array.flags() & py::array::c_style) != 0 ? "" : ", not C-contiguous");
}

void CheckResidual(const py::array& residual, const py::array& x) {
  CheckByteOrder("residual", residual);
  if (IsLike(residual, x)) return;
  throw FrnError("FRN: residual must be a C-contiguous array like x, which is " + Describe(x) +
                 "; received " + Describe(residual) + ".");
}

template <class T>
py::array Frn(const py::array& x, const py::object& gamma, const py::object& beta,
              const py::object& tau, const std::optional<py::array>& residual,
              const py::object& epsilon, const Dims& axes, const std::optional<py::array>& out,
              int threads) {
  using A = ComputeType<T>;
  if (!(x.flags() & py::array::c_style)) throw FrnError("FRN: x must be C-contiguous.");
  CheckByteOrder("x", x);
  const FrnLayout layout = ParseAxes(axes);
  const FrnShape shape = MakeShape(layout, Dims(x.shape(), x.shape() + x.ndim()));
  FrnParams<A> params;
  params.gamma = ParamData<A>("gamma", gamma, shape.channels);
  params.beta = ParamData<A>("beta", beta, shape.channels);
  if (!tau.is_none()) params.tau = ParamData<A>("tau", tau, shape.channels);
  if (py::isinstance<py::float_>(epsilon)) {
    params.epsilon_scalar = epsilon.cast<A>();
    CheckEpsilon(params.epsilon_scalar);
  } else {
    params.epsilon = ParamData<A>("epsilon", epsilon, shape.channels);
  }
  if (residual.has_value()) CheckResidual(*residual, x);
  py::array y;
  if (out.has_value()) {
    y = *out;
    CheckByteOrder("out", y);
    if (!IsLike(y, x) || !y.writeable()) {
      throw FrnError("FRN: out must be a writeable C-contiguous array like x.");
    }
  } else {
    y = py::array(x.dtype(), std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  }
  const auto& kernels = KernelsOf(*SelectCpuTarget().kernels, T{});
  const T* from = static_cast<const T*>(x.data());
  const T* added = residual.has_value() ? static_cast<const T*>(residual->data()) : nullptr;
  T* to = static_cast<T*>(y.mutable_data());
  CheckThreads(threads);
  {
    std::optional<WithoutGil> without;
    if (x.nbytes() > kShortBytes) without.emplace();
    SharedTeam team(threads);
    ComputeFrn<T>(kernels, shape, from, added, to, params, team);
  }
  return y;
}

// The position in ElementTypes, or -1. A type is looked up by its name once: that takes as long as
// a small call, and NumPy's number of it stays the same. bfloat16 has one as soon as there is such
// an array, from ml_dtypes.
template <class... T>
int PositionOf(TypeList<T...>, const py::dtype& dtype) {
  static auto& positions = *new std::unordered_map<int, int>;  // guarded by the GIL
  const auto [found, is_new] = positions.try_emplace(dtype.num(), -1);
  if (is_new) {
    const std::string name = py::str(dtype.attr("name")), names[] = {Element<T>::kName...};
    const auto* at = std::find(std::begin(names), std::end(names), name);
    if (at != std::end(names)) found->second = static_cast<int>(at - std::begin(names));
  }
  return found->second;
}

template <class... T, class... Args>
py::array FrnAny(TypeList<T...> types, const py::array& x, const Args&... args) {
  const int position = PositionOf(types, x.dtype());
  py::array y;
  int i = 0;
  if (((i++ == position && (y = Frn<T>(x, args...), true)) || ...)) return y;
  const std::string names[] = {Element<T>::kName...};
  std::string accepted = names[0];
  for (size_t i = 1; i < sizeof...(T); ++i) {
    accepted += (i + 1 < sizeof...(T) ? ", " : " or ") + names[i];
  }
  throw FrnError("FRN: x must be " + accepted + ", received " +
                 std::string(py::str(x.dtype().attr("name"))) + ".");
}

// One memcpy per thread: what the kernels' throughput is held against.
void Copy(const py::array& x, py::array out, int threads) {
  if (x.nbytes() != out.nbytes() || !(x.flags() & out.flags() & py::array::c_style)) {
    throw FrnError("FRN: copy needs two C-contiguous arrays of the same size in bytes.");
  }
  const char* from = static_cast<const char*>(x.data());
  char* to = static_cast<char*>(out.mutable_data());
  const int64_t bytes = x.nbytes();
  CheckThreads(threads);
  SharedTeam team(threads);
  const int64_t count = team.threads();
  auto copy = [&](int64_t i) {
    const int64_t begin = bytes * i / count, end = bytes * (i + 1) / count;
    std::memcpy(to + begin, from + begin, end - begin);
  };
  const WithoutGil without;
  team.Run(
      count, [](void* self, int64_t i) { (*static_cast<decltype(copy)*>(self))(i); }, &copy,
      TaskOrder::kForwards);
}

py::dict BuildInfo() {
  py::list compiled;
  for (const CpuTarget& target : CpuTargets()) {
    if (target.kernels != nullptr) compiled.append(target.name);
  }
  py::dict info;
  info["version"] = FRN_ONNX_VERSION;
  info["compiler"] = FRN_ONNX_COMPILER;
  info["ort_version_min"] = "1." + std::to_string(kAbiVersion);
  info["cpu_targets"] = compiled;
  info["cpu_target"] = SelectCpuTarget().name;
#ifdef FRN_ONNX_WITH_CUDA
  py::dict cuda;
  cuda["toolkit"] = CudaToolkitVersion();
  cuda["architectures"] = CudaArchitectures();
  info["cuda"] = cuda;
#else
  info["cuda"] = py::none();
#endif
  return info;
}

py::list UsableTargets() {
  py::list names;
  for (const CpuTarget& target : CpuTargets()) {
    if (target.kernels != nullptr && target.supported) names.append(target.name);
  }
  return names;
}

py::dict InputsOf(const OpType& op) {
  py::list inputs;
  for (size_t i = 0; i < op.input_count; ++i) inputs.append(kRoleNames[op.inputs[i]]);
  py::dict contract;
  contract["inputs"] = inputs;
  contract["required_inputs"] = op.required;
  return contract;
}

py::dict OpContract() {
  py::list dtypes;
  for (ONNXTensorElementDataType type : kElementTypes) dtypes.append(static_cast<int>(type));
  py::dict defaults, ops;
  defaults["axes"] = py::none();
  defaults["epsilon"] = kDefaultEpsilon;
  for (const OpType* op : kOpTypes) ops[op->name] = InputsOf(*op);
  py::dict contract = InputsOf(kFrnOp);
  contract["domain"] = kDomain;
  contract["name"] = kFrnOp.name;
  contract["version"] = kOpVersion;
  contract["attributes"] = defaults;
  contract["dtypes"] = dtypes;
  contract["ranks"] = py::make_tuple(3, 4, 5);
  contract["ops"] = ops;
  return contract;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  CpuTargets();  // made before there are threads and forks
  module.doc() = "The CPU kernels on NumPy arrays, and what this build holds.";
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const FrnError& mistake) {
      PyErr_SetString(PyExc_ValueError, mistake.what());
    }
  });
  module.def(
      "frn",
      [](const py::array& x, const py::object& gamma, const py::object& beta, const py::object& tau,
         const std::optional<py::array>& residual, const py::object& epsilon, const Dims& axes,
         const std::optional<py::array>& out, int threads) {
        return FrnAny(ElementTypes{}, x, gamma, beta, tau, residual, epsilon, axes, out, threads);
      },
      py::arg("x"), py::arg("gamma"), py::arg("beta"), py::arg("tau") = py::none(), py::kw_only(),
      py::arg("residual") = py::none(), py::arg("epsilon"), py::arg("axes"),
      py::arg("out") = py::none(), py::arg("threads") = 0,
      "FRN of a C-contiguous array; parameters (C,) in the compute type.");
  module.def("copy", Copy, py::arg("x"), py::arg("out"), py::kw_only(), py::arg("threads") = 0,
             "Copies x to out, one memcpy per thread.");
  module.def("build_info", BuildInfo, "Version, compiler, ABI versions, CPU targets, CUDA.");
  module.def("cpu_targets", UsableTargets, "The targets that FRN_ONNX_CPU_TARGET may name here.");
  module.def("op_contract", OpContract, "The op's contract as the C++ side has it.");
#ifdef FRN_ONNX_WITH_CUDA
  BindCuda(module);
#endif
}

}  // namespace frn
