// What CUDA's errors are told as. Needs CUDA's headers: launch.cc includes it.

#ifndef FRN_ONNX_CUDA_CHECK_H_
#define FRN_ONNX_CUDA_CHECK_H_

#include <cuda_runtime.h>

#include <cstdlib>
#include <string>

#include "cuda/launch.h"

namespace frn::cuda {

// What says that the device failed at work it had been given, whatever call returns it. The process
// cannot use the device again.
inline bool IsFailedWork(cudaError_t error) {
  switch (error) {
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
      return true;
    default:
      return false;
  }
}

// CUDA_LAUNCH_BLOCKING=1: a launch returns what its own kernel ends in.
inline bool LaunchesWait() {
  const char* value = std::getenv("CUDA_LAUNCH_BLOCKING");
  return value != nullptr && std::string(value) != "0";
}

inline std::string Cure(cudaError_t error) {
  switch (error) {
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureImplicit:
      return " A stream is being captured into a CUDA graph, and this does not go into one. Call "
             "frn_onnx.warm_up(device), or run FRN once on the device, before the capture.";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorUnsupportedPtxVersion:
      return " This library's kernels are for other GPUs or newer drivers "
             "(frn_onnx.build_info()[\"cuda\"]). Build it on this machine, with "
             "FRN_ONNX_CMAKE_ARGS=-DFRN_ONNX_CUDA_ARCHITECTURES=native.";
    case cudaErrorInsufficientDriver:
      return " There is no NVIDIA driver here, or it is older than the CUDA that this library was "
             "built with (frn_onnx.build_info()[\"cuda\"]). Install or update it, or build the "
             "library with a CUDA toolkit that the driver knows.";
    default:
      return "";
  }
}

// Throws CudaError, where there is an error, about `what` was to be done.
inline void Check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // it would be reported again by the next launch
  const std::string text =
      std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error) + ".";
  if (IsFailedWork(error) && !LaunchesWait()) {
    throw CudaError("FRN: " + what +
                    " was not possible: an operation that was enqueued before it "
                    "failed on the GPU, FRN's or another's (" +
                    text +
                    ") CUDA_LAUNCH_BLOCKING=1 "
                    "shows which call it was. This process cannot use the GPU again: restart it.");
  }
  throw CudaError("FRN: " + what + " failed: " + text + Cure(error));
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_CHECK_H_
