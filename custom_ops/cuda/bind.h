// The part of the Python module `_native` that runs on CUDA arrays. Thin on purpose: addresses in,
// one launch; frn_onnx/runtime checks the arrays. Signatures: frn_onnx/_native.pyi.

#ifndef FRN_ONNX_CUDA_BIND_H_
#define FRN_ONNX_CUDA_BIND_H_

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>

#include "cuda/call.h"
#include "cuda/launch.h"
#include "frn_shape.h"

namespace frn {

// Address and dtype of gamma, beta or tau.
using CudaParam = std::pair<uintptr_t, std::string>;

inline cuda::ElementType CudaElementType(const std::string& dtype) {
  if (dtype == "float32") return cuda::ElementType::kFloat;
  if (dtype == "float16") return cuda::ElementType::kF16;
  if (dtype == "bfloat16") return cuda::ElementType::kBF16;
  throw FrnError("FRN: x on a GPU must be float32, float16 or bfloat16, received " + dtype +
                 ". Convert it, or move it to the CPU, which has a kernel for float64.");
}

inline cuda::ChannelVector CudaVector(const char* name, const CudaParam& param,
                                      const std::string& x_dtype) {
  const auto& [address, dtype] = param;
  if (dtype != x_dtype && dtype != "float32") {
    throw FrnError(std::string("FRN: ") + name + " must be " + x_dtype + " (the type of x) or " +
                   "float32, received " + dtype + ".");
  }
  return {reinterpret_cast<const void*>(address), dtype == "float32"};
}

inline void FrnCuda(uintptr_t x, uintptr_t residual, uintptr_t y, const Dims& shape,
                    const std::string& dtype, const Dims& axes, const CudaParam& gamma,
                    const CudaParam& beta, const std::optional<CudaParam>& tau, float epsilon,
                    const std::optional<uintptr_t>& epsilons, int device, uintptr_t stream) {
  const cuda::ElementType type = CudaElementType(dtype);
  cuda::KernelParams params;
  params.x = reinterpret_cast<const void*>(x);
  params.residual = reinterpret_cast<const void*>(residual);
  params.y = reinterpret_cast<void*>(y);
  params.gamma = CudaVector("gamma", gamma, dtype);
  params.beta = CudaVector("beta", beta, dtype);
  if (tau.has_value()) params.tau = CudaVector("tau", *tau, dtype);
  params.epsilon = reinterpret_cast<const float*>(epsilons.value_or(0));
  CheckEpsilon(epsilon);
  params.epsilon_value = epsilon;
  cuda::SetShape(MakeShape(ParseAxes(axes), shape), &params);
  const pybind11::gil_scoped_release release;
  cuda::LaunchOn(device, params, type, reinterpret_cast<void*>(stream));
}

inline void BindCuda(pybind11::module_& module) {
  namespace py = pybind11;
  module.def("frn_cuda", FrnCuda, py::kw_only(), py::arg("x"), py::arg("residual") = 0,
             py::arg("y"), py::arg("shape"), py::arg("dtype"), py::arg("axes"), py::arg("gamma"),
             py::arg("beta"), py::arg("tau") = py::none(), py::arg("epsilon"),
             py::arg("epsilons") = py::none(), py::arg("device"), py::arg("stream"),
             "Enqueues FRN of contiguous arrays on a CUDA device, given by their addresses.");
  module.def("warm_up_cuda", cuda::WarmUpOn, py::kw_only(), py::arg("device"),
             py::call_guard<py::gil_scoped_release>(), "Loads the kernels on a CUDA device.");
}

}  // namespace frn

#endif  // FRN_ONNX_CUDA_BIND_H_
