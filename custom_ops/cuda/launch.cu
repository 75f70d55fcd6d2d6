#include <cuda_runtime.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "cuda/call.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"

namespace frn::cuda {
namespace {

[[nodiscard]] std::string ErrorText(cudaError_t error) {
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // it would be reported again by the next launch
  throw CudaError(std::string("FRN: ") + what + " failed: " + ErrorText(error) + ".");
}

int Attribute(cudaDeviceAttr attribute, int ordinal) {
  int value = 0;
  Check(cudaDeviceGetAttribute(&value, attribute, ordinal), "reading a device attribute");
  return value;
}

// Lets every kernel use all the shared memory a block may have. Once per device: done per launch
// it would be a race, since the setting belongs to the kernel and not to the launch.
void AllowSharedMemory(int bytes) {
  for (const Kernel kernel : kKernels) {
    for (const ElementType type : {ElementType::kFloat, ElementType::kF16, ElementType::kBF16}) {
      const void* function = reinterpret_cast<const void*>(KernelOf(kernel, type));
      Check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
            "raising a kernel's shared memory");
      Check(cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared),
            "preferring shared memory to L1");
    }
  }
}

// A device, and the plans made for it: making one takes longer than launching it.
class Device {
 public:
  explicit Device(int ordinal) {
    cudaFuncAttributes kernel = {};
    Check(cudaFuncGetAttributes(&kernel, reinterpret_cast<const void*>(
                                             KernelOf(Kernel::kNchwPlane, ElementType::kFloat))),
          "reading a kernel's attributes");
    profile_.sms = Attribute(cudaDevAttrMultiProcessorCount, ordinal);
    profile_.threads_per_sm = Attribute(cudaDevAttrMaxThreadsPerMultiProcessor, ordinal);
    profile_.blocks_per_sm = Attribute(cudaDevAttrMaxBlocksPerMultiprocessor, ordinal);
    profile_.smem_per_sm = Attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, ordinal);
    profile_.smem_per_block = Attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
    profile_.l2_bytes = Attribute(cudaDevAttrL2CacheSize, ordinal);
    // The kernel's version, not the device's, decides: code for sm_90 that the driver compiled
    // from older PTX holds no cluster instructions.
    profile_.clusters =
        kernel.ptxVersion >= 90 && Attribute(cudaDevAttrClusterLaunch, ordinal) != 0;
    AllowSharedMemory(static_cast<int>(profile_.smem_per_block));
  }

  DeviceProfile Profile() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return profile_;
  }

  std::optional<Plan> PlanFor(const Problem& problem) {
    constexpr size_t kMostPlans = 4096;  // then shapes do not repeat, and keeping them is in vain
    const FrnShape& s = problem.shape;
    const Key key{s.batch, s.outer, s.channels, s.inner, problem.type, problem.aligned};
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second;
    if (plans_.size() >= kMostPlans) plans_.clear();
    return plans_[key] = MakePlan(problem, profile_);
  }

  void GiveUpClusters() {
    const std::lock_guard<std::mutex> lock(mutex_);
    profile_.clusters = false;
    plans_.clear();
  }

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, ElementType, bool>;

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

cudaError_t TryLaunch(const KernelParams& params, ElementType type, const Plan& plan,
                      cudaStream_t stream) {
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(plan.cut.cluster);
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(plan.blocks));
  config.blockDim = dim3(static_cast<unsigned>(plan.threads));
  config.dynamicSmemBytes = static_cast<size_t>(plan.smem_bytes);
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = plan.cut.cluster > 1 ? 1 : 0;
  const cudaError_t error =
      cudaLaunchKernelEx(&config, KernelOf(plan.kernel, type), params, plan.cut);
  if (error != cudaSuccess) (void)cudaGetLastError();
  return error;
}

// What a device says that has no room for a cluster: a part of a GPU (MIG), for one.
bool IsClusterError(cudaError_t error) {
  return error == cudaErrorInvalidClusterSize || error == cudaErrorLaunchOutOfResources ||
         error == cudaErrorInvalidConfiguration || error == cudaErrorNotSupported;
}

void Expect(cudaError_t error, const KernelParams& params, ElementType type, const Plan& plan) {
  if (error == cudaSuccess) return;
  throw CudaError("FRN: launching " + Describe(plan) + " for " + Describe(params.shape, type) +
                  " failed: " + ErrorText(error) + ".");
}

}  // namespace

void Launch(const KernelParams& params, ElementType type, void* stream) {
  if (params.shape.elements() == 0) return;
  const Problem problem = ProblemOf(params, type);
  Device& device = Current();
  for (;;) {
    const std::optional<Plan> plan = device.PlanFor(problem);
    if (!plan.has_value()) throw TooLarge(params.shape, type);
    const cudaError_t error = TryLaunch(params, type, *plan, static_cast<cudaStream_t>(stream));
    if (plan->cut.cluster == 1 || !IsClusterError(error)) {
      return Expect(error, params, type, *plan);
    }
    device.GiveUpClusters();
  }
}

void LaunchOn(int device, const KernelParams& params, ElementType type, void* stream) {
  struct Restore {
    int device = 0;
    ~Restore() { (void)cudaSetDevice(device); }
  } previous;
  Check(cudaGetDevice(&previous.device), "looking for a CUDA device");
  Check(cudaSetDevice(device), "choosing the CUDA device");
  Launch(params, type, stream);
}

void LaunchPlan(const KernelParams& params, ElementType type, const Plan& plan, void* stream) {
  (void)Current();  // the kernels' shared memory must have been allowed
  Expect(TryLaunch(params, type, plan, static_cast<cudaStream_t>(stream)), params, type, plan);
}

DeviceProfile CurrentDevice() { return Current().Profile(); }

}  // namespace frn::cuda
