#include "cuda/launch.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "cuda/call.h"
#include "cuda/check.h"
#include "cuda/integers.h"
#include "cuda/kernels.h"

namespace frn::cuda {
namespace {

cudaLaunchAttribute ClusterOf(int blocks) {
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(blocks);
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  return cluster;
}

int Attribute(cudaDeviceAttr attribute, int ordinal) {
  int value = 0;
  Check(cudaDeviceGetAttribute(&value, attribute, ordinal), "reading a device attribute");
  return value;
}

// While it lives, this thread may load kernels though a stream is being captured, this call's own
// or another thread's. Loading is not an operation of a stream: no graph lacks it.
class RelaxedCapture {
 public:
  RelaxedCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

template <class Body>
void ForEachKernel(Body&& body) {
  for (const Kernel kernel : kKernels) {
    for (const ElementType type : {ElementType::kFloat, ElementType::kF16, ElementType::kBF16}) {
      for (const bool residual : {false, true}) {
        body(reinterpret_cast<const void*>(KernelOf(kernel, type, residual)));
      }
    }
  }
}

// Loads every kernel, and lets it use all the shared memory a block may have. Once per device: done
// per launch it would be a race, since the setting belongs to the kernel and not to the launch.
void AllowSharedMemory(int bytes) {
  ForEachKernel([&](const void* function) {
    Check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "raising a kernel's shared memory");
    Check(cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared),
          "preferring shared memory to L1");
  });
}

// More than 8 blocks in a cluster, which not every device has room for, nor need allow: those then
// do not fit, which is asked next.
void AllowLargeClusters() {
  ForEachKernel([&](const void* function) {
    const cudaError_t error =
        cudaFuncSetAttribute(function, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (error != cudaSuccess) (void)cudaGetLastError();
  });
}

// Whether a cluster of so many blocks fits the device whatever the plan: asked for blocks with all
// the threads and all the shared memory that there are. What cannot be asked does not fit; a device
// that has failed says so at the launch.
bool Fits(int cluster, const void* function, int64_t smem) {
  cudaFuncAttributes kernel = {};
  Check(cudaFuncGetAttributes(&kernel, function), "reading a kernel's attributes");
  cudaLaunchAttribute size = ClusterOf(cluster);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(cluster));
  config.blockDim = dim3(static_cast<unsigned>(kernel.maxThreadsPerBlock));
  config.dynamicSmemBytes = static_cast<size_t>(smem);
  config.attrs = &size;
  config.numAttrs = 1;
  int clusters = 0;
  const cudaError_t error = cudaOccupancyMaxActiveClusters(&clusters, function, &config);
  if (error != cudaSuccess) (void)cudaGetLastError();
  return error == cudaSuccess && clusters > 0;
}

// The largest cluster that every kernel fits in.
int LargestCluster(int64_t smem) {
  int largest = kMaxCluster;
  ForEachKernel([&](const void* function) {
    while (largest > 1 && !Fits(largest, function, smem)) largest /= 2;
  });
  return largest;
}

// A device, and the plans made for it: making one takes longer than launching it.
class Device {
 public:
  explicit Device(int ordinal) {
    const RelaxedCapture relaxed;
    cudaFuncAttributes kernel = {};
    Check(cudaFuncGetAttributes(&kernel, reinterpret_cast<const void*>(KernelOf(
                                             Kernel::kNchwPlane, ElementType::kFloat, false))),
          "loading the kernels");
    profile_.sms = Attribute(cudaDevAttrMultiProcessorCount, ordinal);
    profile_.threads_per_sm = Attribute(cudaDevAttrMaxThreadsPerMultiProcessor, ordinal);
    profile_.blocks_per_sm = Attribute(cudaDevAttrMaxBlocksPerMultiprocessor, ordinal);
    profile_.smem_per_sm = Attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, ordinal);
    profile_.smem_per_block = Attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
    profile_.l2_bytes = Attribute(cudaDevAttrL2CacheSize, ordinal);
    // Two transfers a clock; kHz times bits. Virtual GPUs do not say: then little is assumed.
    profile_.gb_per_second = std::max<int64_t>(
        100, 2 * int64_t{Attribute(cudaDevAttrMemoryClockRate, ordinal)} *
                 Attribute(cudaDevAttrGlobalMemoryBusWidth, ordinal) / 8 / 1000000);
    AllowSharedMemory(static_cast<int>(profile_.smem_per_block));
    // The kernel's version decides, too: code for sm_90 that the driver compiled from older PTX
    // holds no cluster instructions.
    const bool clusters =
        kernel.ptxVersion >= 90 && Attribute(cudaDevAttrClusterLaunch, ordinal) != 0;
    if (clusters) AllowLargeClusters();
    profile_.largest_cluster = clusters ? LargestCluster(profile_.smem_per_block) : 1;
  }

  DeviceProfile Profile() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return profile_;
  }

  std::optional<Plan> PlanFor(const Problem& problem) {
    constexpr size_t kMostPlans = 4096;  // then shapes do not repeat, and keeping them is in vain
    const FrnShape& s = problem.shape;
    const Key key{s.batch,      s.outer,         s.channels,      s.inner,
                  problem.type, problem.aligned, problem.residual};
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second;
    if (plans_.size() >= kMostPlans) plans_.clear();
    return plans_[key] = MakePlan(problem, profile_);
  }

  // From now on, plans keep to smaller clusters than this one.
  void Refuse(int cluster) {
    const std::lock_guard<std::mutex> lock(mutex_);
    profile_.largest_cluster = std::min(profile_.largest_cluster, cluster / 2);
    plans_.clear();
  }

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, ElementType, bool, bool>;

  std::mutex mutex_;
  DeviceProfile profile_{};
  std::map<Key, std::optional<Plan>> plans_;
};

// One per device of the machine, made when first used and kept.
Device& Current() {
  int ordinal = 0;
  Check(cudaGetDevice(&ordinal), "looking for a CUDA device");
  static std::mutex mutex;
  static auto& devices = *new std::map<int, std::unique_ptr<Device>>;  // outlives all threads
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Device>& device = devices[ordinal];
  if (device == nullptr) device = std::make_unique<Device>(ordinal);
  return *device;
}

// Makes a device current while it lives. Where it is already, nothing is set: setting a device also
// makes a context on it, which takes its memory, and the device that is current from the start may
// be one that the process does not use.
class OnDevice {
 public:
  explicit OnDevice(int device) : device_(device) {
    Check(cudaGetDevice(&previous_), "looking for a CUDA device");
    if (previous_ != device_) Check(cudaSetDevice(device_), "choosing the CUDA device");
  }
  ~OnDevice() {
    if (previous_ != device_) (void)cudaSetDevice(previous_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int device_, previous_ = 0;
};

cudaError_t TryLaunch(const KernelParams& params, ElementType type, const Plan& plan,
                      cudaStream_t stream) {
  cudaLaunchAttribute cluster = ClusterOf(plan.cut.cluster);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(plan.blocks));
  config.blockDim = dim3(static_cast<unsigned>(plan.threads));
  config.dynamicSmemBytes = static_cast<size_t>(plan.smem_bytes);
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = plan.cut.cluster > 1 ? 1 : 0;
  const KernelFunction kernel = KernelOf(plan.kernel, type, params.residual != nullptr);
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, params, plan.cut);
  if (error != cudaSuccess) (void)cudaGetLastError();
  return error;
}

// What a device says that has no room for a cluster: a part of a GPU (MIG), for one.
bool IsClusterError(cudaError_t error) {
  return error == cudaErrorInvalidClusterSize || error == cudaErrorLaunchOutOfResources ||
         error == cudaErrorInvalidConfiguration || error == cudaErrorNotSupported;
}

void CheckLaunch(cudaError_t error, const KernelParams& params, ElementType type,
                 const Plan& plan) {
  if (error == cudaSuccess) return;
  Check(error, "launching " + Describe(plan) + " for " + Describe(params.shape, type));
}

}  // namespace

bool DriverIsNewEnough() {
  constexpr int kPerMajor = 1000;  // 12040 is 12.4; within a major version any driver will do
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess ||
      cudaRuntimeGetVersion(&runtime) != cudaSuccess) {
    (void)cudaGetLastError();
    return false;  // what does not tell its version runs nothing, and is no reason to lack the CPU
  }
  return driver == 0 || driver / kPerMajor >= runtime / kPerMajor;
}

void WarmUp() { (void)Current(); }

void WarmUpOn(int device) {
  const OnDevice on(device);
  WarmUp();
}

void Launch(const KernelParams& params, ElementType type, void* stream) {
  if (params.shape.elements() == 0) return;
  const Problem problem = ProblemOf(params, type);
  Device& device = Current();
  for (;;) {
    const std::optional<Plan> plan = device.PlanFor(problem);
    if (!plan.has_value()) throw TooLarge(params.shape, type);
    const cudaError_t error = TryLaunch(params, type, *plan, static_cast<cudaStream_t>(stream));
    if (plan->cut.cluster == 1 || !IsClusterError(error)) {
      return CheckLaunch(error, params, type, *plan);
    }
    device.Refuse(plan->cut.cluster);
  }
}

void LaunchOn(int device, const KernelParams& params, ElementType type, void* stream) {
  const OnDevice on(device);
  Launch(params, type, stream);
}

void LaunchPlan(const KernelParams& params, ElementType type, const Plan& plan, void* stream) {
  WarmUp();  // the kernels' shared memory must have been allowed
  CheckLaunch(TryLaunch(params, type, plan, static_cast<cudaStream_t>(stream)), params, type, plan);
}

DeviceProfile CurrentDevice() { return Current().Profile(); }

}  // namespace frn::cuda
