#include "tests/simt/fake_cudart.h"

#include <mutex>
#include <utility>

#include "tests/simt/simt.h"

namespace frn::fake {

Machine& TheMachine() {
  static Machine machine = [] {
    Machine made;
    made.devices.push_back({cuda::ProfileOf("H200")});
    return made;
  }();
  return machine;
}

namespace {

cudaError_t Remember(cudaError_t error) {
  if (error != cudaSuccess) TheMachine().last_error = error;
  return error;
}

cudaError_t LoadKernel() {
  const bool forbidden =
      TheMachine().captures && TheMachine().capture_mode != cudaStreamCaptureModeRelaxed;
  return Remember(forbidden ? cudaErrorStreamCaptureUnsupported : TheMachine().load_error);
}

}  // namespace

cudaError_t Launch(const cudaLaunchConfig_t& config, const std::function<void()>& body) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  Machine& machine = TheMachine();
  const unsigned cluster = config.numAttrs == 1 ? config.attrs->val.clusterDim.x : 1;
  machine.launches.push_back({machine.current, config.stream, cluster});
  const bool refused = static_cast<int>(cluster) > machine.launches_clusters;
  const cudaError_t error = refused ? machine.cluster_error : machine.launch_error;
  if (error != cudaSuccess || !machine.runs) return Remember(error);
  simt::Grid grid;
  grid.blocks = config.gridDim.x;
  grid.threads = static_cast<int>(config.blockDim.x);
  grid.cluster = static_cast<int>(cluster);
  grid.smem_bytes = static_cast<int>(config.dynamicSmemBytes);
  simt::Launch(grid, body);
  return cudaSuccess;
}

}  // namespace frn::fake

using frn::fake::TheMachine;

int fake_attribute_writes() { return TheMachine().attribute_writes; }
void fake_driver(int version) { TheMachine().driver = version; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = TheMachine().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaErrorFake";
}
const char* cudaGetErrorString(cudaError_t) { return "an error that a test asked for"; }
cudaError_t cudaGetLastError() {
  const cudaError_t error = TheMachine().last_error;
  TheMachine().last_error = cudaSuccess;
  return error;
}
cudaError_t cudaGetDevice(int* device) {
  *device = TheMachine().current;
  return TheMachine().devices.empty() ? frn::fake::Remember(cudaErrorNoDevice) : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= static_cast<int>(TheMachine().devices.size())) {
    return frn::fake::Remember(cudaErrorInvalidDevice);
  }
  TheMachine().devices_set.push_back(device);
  TheMachine().current = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  ++TheMachine().attribute_reads;
  const frn::cuda::DeviceProfile& profile = TheMachine().devices.at(device).profile;
  int64_t found = 0;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      found = profile.sms;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      found = profile.threads_per_sm;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      found = profile.blocks_per_sm;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      found = profile.smem_per_sm;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      found = profile.smem_per_block;
      break;
    case cudaDevAttrL2CacheSize:
      found = profile.l2_bytes;
      break;
    case cudaDevAttrMemoryClockRate:
      found = profile.gb_per_second * 1000;  // with a bus of 4000 bits
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      found = 4000;
      break;
    case cudaDevAttrClusterLaunch:
      found = profile.largest_cluster > 1;
      break;
  }
  *value = static_cast<int>(found);
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  attributes->maxThreadsPerBlock = 512;
  attributes->ptxVersion = TheMachine().devices.at(TheMachine().current).ptx_version;
  return frn::fake::LoadKernel();
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  ++TheMachine().attribute_writes;
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    TheMachine().smem_limits.push_back(value);
  }
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed &&
      TheMachine().large_clusters_error != cudaSuccess) {
    return frn::fake::Remember(TheMachine().large_clusters_error);
  }
  return frn::fake::LoadKernel();
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*,
                                           const cudaLaunchConfig_t* config) {
  ++TheMachine().occupancy_questions;
  const int size = static_cast<int>(config->attrs->val.clusterDim.x);
  *clusters = TheMachine().room_for_clusters / size;
  return frn::fake::Remember(*clusters == 0 ? TheMachine().occupancy_error : cudaSuccess);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, TheMachine().capture_mode);
  return cudaSuccess;
}
