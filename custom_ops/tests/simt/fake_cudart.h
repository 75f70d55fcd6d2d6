// What a test decides about the devices that fake/cuda_runtime.h shows, and sees of the calls.

#ifndef FRN_ONNX_TESTS_SIMT_FAKE_CUDART_H_
#define FRN_ONNX_TESTS_SIMT_FAKE_CUDART_H_

#include <cuda_runtime.h>

#include <vector>

#include "cuda/planner.h"
#include "tests/simt/profiles.h"

namespace frn::fake {

struct Machine {
  struct Device {
    cuda::DeviceProfile profile;
    int ptx_version = 90;  // of the kernels that run on it
  };
  std::vector<Device> devices;
  int current = 0;
  cudaError_t cluster_error = cudaSuccess;  // what launches with clusters give
  cudaError_t launch_error = cudaSuccess;   // what all others give
  bool runs = true;                         // whether launches run their kernel

  // What was called.
  struct Launched {
    int device;
    cudaStream_t stream;
    unsigned cluster;
  };
  std::vector<Launched> launches;
  int attribute_reads = 0;
  int attribute_writes = 0;
  std::vector<int> smem_limits;          // of cudaFuncSetAttribute
  cudaError_t last_error = cudaSuccess;  // what cudaGetLastError would give
};

// One H200 at first.
Machine& TheMachine();

}  // namespace frn::fake

#endif  // FRN_ONNX_TESTS_SIMT_FAKE_CUDART_H_
