// The Python module `_native`: the CPU kernels on NumPy arrays, and what the build holds. Thin on
// purpose; frn_onnx/runtime/arrays.py checks and copies. Signatures: frn_onnx/_native.pyi.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "cpu/cpu_target.h"
#include "cpu/element.h"
#include "cpu/frn_cpu.h"
#include "cpu/thread_team.h"
#include "frn_op.h"
#include "frn_shape.h"
#ifdef FRN_ONNX_WITH_CUDA
#include "cuda/bind.h"
#include "cuda/cuda_info.h"
#endif

namespace py = pybind11;

namespace frn {
namespace {

// One team for the process, made for the number of threads last asked for.
class SharedTeam {
 public:
  template <class F>
  void With(int threads, F&& call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (team_ == nullptr || threads_ != threads) {
      team_ = nullptr;
      team_ = std::make_unique<ThreadTeam>(threads);
      threads_ = threads;
    }
    call(*team_);
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<ThreadTeam> team_;
  int threads_ = 0;
};

// Never destroyed: joining threads while the process ends can hang.
SharedTeam& Team() {
  static auto& team = *new SharedTeam;
  return team;
}

int ThreadCount(int threads) {
  if (threads < 0) {
    throw FrnError("FRN: threads must be positive, or 0 for all, received " +
                   std::to_string(threads) + ".");
  }
  return threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
}

template <class A>
using Param = py::array_t<A, py::array::c_style>;

template <class A>
const A* ParamData(const char* name, const py::object& value, int64_t channels) {
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

template <class T>
py::array Frn(const py::array& x, const py::object& gamma, const py::object& beta,
              const py::object& tau, const py::object& epsilon, const Dims& axes,
              const std::optional<py::array>& out, int threads) {
  using A = ComputeType<T>;
  if (!(x.flags() & py::array::c_style)) throw FrnError("FRN: x must be C-contiguous.");
  const FrnLayout layout = ParseAxes(axes);
  const FrnShape shape = MakeShape(layout, Dims(x.shape(), x.shape() + x.ndim()));
  FrnParams<A> params;
  params.gamma = ParamData<A>("gamma", gamma, shape.channels);
  params.beta = ParamData<A>("beta", beta, shape.channels);
  if (!tau.is_none()) params.tau = ParamData<A>("tau", tau, shape.channels);
  if (py::isinstance<py::float_>(epsilon)) {
    params.epsilon_scalar = epsilon.cast<A>();
    CheckEpsilon(static_cast<float>(params.epsilon_scalar));
  } else {
    params.epsilon = ParamData<A>("epsilon", epsilon, shape.channels);
  }
  py::array y;
  if (out.has_value()) {
    y = *out;
    if (!y.dtype().is(x.dtype()) || !(y.flags() & py::array::c_style) || !y.writeable() ||
        y.ndim() != x.ndim() || !std::equal(y.shape(), y.shape() + y.ndim(), x.shape())) {
      throw FrnError("FRN: out must be a writeable C-contiguous array like x.");
    }
  } else {
    y = py::array(x.dtype(), std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  }
  const auto& kernels = KernelsOf(*SelectCpuTarget().kernels, T{});
  const T* from = static_cast<const T*>(x.data());
  T* to = static_cast<T*>(y.mutable_data());
  const int count = ThreadCount(threads);
  {
    const py::gil_scoped_release release;
    Team().With(count,
                [&](Executor& team) { ComputeFrn<T>(kernels, shape, from, to, params, team); });
  }
  return y;
}

constexpr int kNumpyHalf = 23;  // NPY_HALF

py::array FrnAny(const py::array& x, const py::object& gamma, const py::object& beta,
                 const py::object& tau, const py::object& epsilon, const Dims& axes,
                 const std::optional<py::array>& out, int threads) {
  const auto run = [&](auto function) {
    return function(x, gamma, beta, tau, epsilon, axes, out, threads);
  };
  switch (x.dtype().num()) {
    case py::detail::npy_api::NPY_FLOAT_:
      return run(Frn<float>);
    case py::detail::npy_api::NPY_DOUBLE_:
      return run(Frn<double>);
    case kNumpyHalf:
      return run(Frn<F16>);
  }
  const std::string dtype = py::str(x.dtype().attr("name"));
  if (dtype == "bfloat16") return run(Frn<BF16>);  // ml_dtypes registers it; it has no fixed number
  throw FrnError("FRN: x must be float32, float64, float16 or bfloat16, received " + dtype + ".");
}

// One memcpy per thread: what the kernels' throughput is held against.
void Copy(const py::array& x, py::array out, int threads) {
  if (x.nbytes() != out.nbytes() || !(x.flags() & out.flags() & py::array::c_style)) {
    throw FrnError("FRN: copy needs two C-contiguous arrays of the same size in bytes.");
  }
  const char* from = static_cast<const char*>(x.data());
  char* to = static_cast<char*>(out.mutable_data());
  const int64_t bytes = x.nbytes(), count = ThreadCount(threads);
  auto copy = [&](int64_t i) {
    const int64_t begin = bytes * i / count, end = bytes * (i + 1) / count;
    std::memcpy(to + begin, from + begin, end - begin);
  };
  const py::gil_scoped_release release;
  Team().With(static_cast<int>(count), [&](Executor& team) {
    team.Run(count, [](void* self, int64_t i) { (*static_cast<decltype(copy)*>(self))(i); }, &copy);
  });
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

py::dict OpContract() {
  py::list inputs, dtypes;
  for (const char* name : kInputNames) inputs.append(name);
  for (ONNXTensorElementDataType type : kElementTypes) dtypes.append(static_cast<int>(type));
  py::dict defaults;
  defaults["axes"] = py::none();
  defaults["epsilon"] = kDefaultEpsilon;
  py::dict contract;
  contract["domain"] = kDomain;
  contract["name"] = kOpName;
  contract["version"] = kOpVersion;
  contract["inputs"] = inputs;
  contract["required_inputs"] = kRequiredInputs;
  contract["attributes"] = defaults;
  contract["dtypes"] = dtypes;
  contract["ranks"] = py::make_tuple(3, 4, 5);
  return contract;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "The CPU kernels on NumPy arrays, and what this build holds.";
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const FrnError& mistake) {
      PyErr_SetString(PyExc_ValueError, mistake.what());
    }
  });
  module.def("frn", FrnAny, py::arg("x"), py::arg("gamma"), py::arg("beta"),
             py::arg("tau") = py::none(), py::kw_only(), py::arg("epsilon"), py::arg("axes"),
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
