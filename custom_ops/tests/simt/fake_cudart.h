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
  int driver = 13000;                              // what CUDA it is for; 0: there is none
  int room_for_clusters = 8;                       // the largest that any kernel has room for
  cudaError_t occupancy_error = cudaSuccess;       // what asking for it gives
  cudaError_t large_clusters_error = cudaSuccess;  // what allowing more than 8 blocks gives
  int launches_clusters = 8;                       // of larger ones, a launch gives cluster_error
  cudaError_t cluster_error = cudaSuccess;
  cudaError_t launch_error = cudaSuccess;  // what all others give
  cudaError_t load_error = cudaSuccess;    // what loading a kernel gives
  bool captures = false;  // some stream: a thread that is not relaxed must not load kernels
  bool runs = true;       // whether launches run their kernel

  // What was called.
  struct Launched {
    int device;
    cudaStream_t stream;
    unsigned cluster;
  };
  std::vector<Launched> launches;
  std::vector<int> devices_set;  // cudaSetDevice
  int attribute_reads = 0;
  int attribute_writes = 0;
  std::vector<int> smem_limits;  // of cudaFuncSetAttribute
  int occupancy_questions = 0;
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
  cudaError_t last_error = cudaSuccess;  // what cudaGetLastError would give
};

// One H200 at first.
Machine& TheMachine();

}  // namespace frn::fake

// For tests in Python, of the library that this is linked into.
extern "C" int fake_attribute_writes();
extern "C" void fake_driver(int version);

#endif  // FRN_ONNX_TESTS_SIMT_FAKE_CUDART_H_
