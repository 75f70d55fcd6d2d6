// The launcher, its own source, on devices and with errors that the test makes up.

#include "cuda/launch.h"

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "cuda/call.h"
#include "tests/simt/fake_cudart.h"

namespace frn::cuda {
namespace {

using fake::Machine;
using fake::TheMachine;

int failures = 0;

void Expect(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

template <class Error, class Body>
std::string MessageOf(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A tensor that every device with clusters would share among them.
struct Tensor {
  explicit Tensor(FrnShape shape = {1, 1, 2, 20000}) : values(shape.elements(), 2.0f) {
    params.x = values.data();
    params.y = values.data();
    params.gamma = {gamma, true};
    params.beta = {beta, true};
    SetShape(shape, &params);
  }
  std::vector<float> values;
  float gamma[4] = {3.0f, 3.0f, 3.0f, 3.0f};
  float beta[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  KernelParams params;
};

cudaStream_t StreamNumber(uintptr_t number) { return reinterpret_cast<cudaStream_t>(number); }

// Each test has devices of its own: what the launcher knows of a device it keeps.
int AddDevice(Machine::Device device) {
  TheMachine().devices.push_back(device);
  TheMachine().current = static_cast<int>(TheMachine().devices.size()) - 1;
  TheMachine().launches.clear();
  return TheMachine().current;
}

void TestDrivers() {
  for (const auto& [driver, serves] :
       {std::pair{0, true}, {12090, false}, {13000, true}, {14000, true}}) {
    TheMachine().driver = driver;
    Expect(DriverIsNewEnough() == serves, "a driver for CUDA " + std::to_string(driver));
  }
  TheMachine().driver = 13000;
}

void TestResultAndStream() {
  AddDevice({ProfileOf("H200")});
  Tensor tensor;
  Launch(tensor.params, ElementType::kFloat, StreamNumber(7));
  for (const float y : tensor.values) Expect(y == 4.0f, "3 * 2 / 2 + 1");
  Expect(TheMachine().launches.size() == 1, "one launch");
  Expect(TheMachine().launches[0].stream == StreamNumber(7), "on the caller's stream");
  Expect(TheMachine().launches[0].cluster > 1, "in clusters");
}

void TestDevicesAreReadOnce() {
  const int first = AddDevice({ProfileOf("T4"), 75});
  const int second = AddDevice({ProfileOf("A100"), 80});
  TheMachine().smem_limits.clear();
  const int before = TheMachine().attribute_reads;
  for (int round = 0; round < 3; ++round) {
    TheMachine().current = first;
    Expect(CurrentDevice().sms == 40, "the first device's profile");
    TheMachine().current = second;
    Expect(CurrentDevice().sms == 108, "the second device's profile");
  }
  const int reads = TheMachine().attribute_reads - before;
  Expect(reads > 0 && reads <= 18, "attributes are read once per device");
  const size_t kernels = std::size(kKernels) * 3 * 2;  // types; without and with a residual
  std::vector<int> expected(kernels, 64 << 10);
  expected.insert(expected.end(), kernels, 163 << 10);
  Expect(TheMachine().smem_limits == expected, "each kernel may use each device's shared memory");
}

void TestClustersNeedCodeForThem() {
  AddDevice({ProfileOf("H200"), 80});
  Expect(CurrentDevice().largest_cluster == 1, "PTX for sm_80 has no clusters, on any device");
  Tensor tensor;
  Launch(tensor.params, ElementType::kFloat, nullptr);
  Expect(TheMachine().launches.back().cluster == 1, "so none are asked for");
}

// Whether a size has room is asked once, when the device is first seen.
void TestClustersWithoutRoom() {
  for (const cudaError_t error : {cudaSuccess, cudaErrorInvalidClusterSize}) {
    for (const int room : {1, 2, 5, 8}) {
      AddDevice({ProfileOf("H200")});
      TheMachine().room_for_clusters = room;
      TheMachine().occupancy_error = error;
      const int largest = room == 5 ? 4 : room;
      Expect(CurrentDevice().largest_cluster == largest, "the largest that has room");
      const int asked = TheMachine().occupancy_questions;
      Tensor tensor;
      Launch(tensor.params, ElementType::kFloat, nullptr);
      Expect(static_cast<int>(TheMachine().launches.back().cluster) == largest, "is launched");
      Expect(TheMachine().launches.size() == 1, "at once");
      Expect(TheMachine().occupancy_questions == asked, "and nothing is asked again");
      Expect(TheMachine().last_error == cudaSuccess, "the error does not stay behind");
    }
  }
  TheMachine().room_for_clusters = 8;
  TheMachine().occupancy_error = cudaSuccess;
}

// No device need allow more than 8 blocks: it is no reason to have no kernels.
void TestLargeClustersAreNotAllowed() {
  AddDevice({ProfileOf("H200")});
  TheMachine().large_clusters_error = cudaErrorNotSupported;
  Tensor tensor;
  Launch(tensor.params, ElementType::kFloat, nullptr);
  Expect(CurrentDevice().largest_cluster == 8, "clusters of 8 are left");
  Expect(TheMachine().last_error == cudaSuccess, "the error does not stay behind");
  TheMachine().large_clusters_error = cudaSuccess;
}

// Sizes that a launch refuses all the same: each once, and no smaller ones with them.
void TestClusterErrorsAreRetried() {
  for (const cudaError_t error :
       {cudaErrorInvalidClusterSize, cudaErrorLaunchOutOfResources, cudaErrorNotSupported}) {
    for (const unsigned runs : {1u, 2u}) {
      AddDevice({ProfileOf("H200")});
      TheMachine().launches_clusters = static_cast<int>(runs);
      TheMachine().cluster_error = error;
      Tensor tensor;
      Launch(tensor.params, ElementType::kFloat, nullptr);
      Expect(tensor.values[0] == 4.0f, "the launch in smaller clusters computes");
      Launch(tensor.params, ElementType::kFloat, nullptr);
      std::vector<unsigned> sizes;
      for (const auto& launch : TheMachine().launches) sizes.push_back(launch.cluster);
      const std::vector<unsigned> expected =
          runs == 1 ? std::vector<unsigned>{8, 4, 2, 1, 1} : std::vector<unsigned>{8, 4, 2, 2};
      Expect(sizes == expected, "each size is tried once, down to the one that runs");
      Expect(TheMachine().last_error == cudaSuccess, "the error does not stay behind");
      Expect(CurrentDevice().largest_cluster == static_cast<int>(runs), "the profile says so");
    }
  }
  TheMachine().launches_clusters = 8;
  TheMachine().cluster_error = cudaSuccess;
}

void TestOtherErrorsAreReported() {
  AddDevice({ProfileOf("A100"), 80});
  TheMachine().launch_error = cudaErrorInvalidConfiguration;
  Tensor tensor;
  const std::string message =
      MessageOf<CudaError>([&] { Launch(tensor.params, ElementType::kFloat, nullptr); });
  for (const char* part : {"launching kernel nchw_plane", "(1, 1, 2, 20000) of float",
                           "cudaErrorFake: an error that a test asked for"}) {
    Expect(Has(message, part), std::string("the message has '") + part + "': " + message);
  }
  Expect(TheMachine().launches.size() == 1, "nothing is tried again");
  Expect(TheMachine().last_error == cudaSuccess, "the error does not stay behind");
  TheMachine().launch_error = cudaSuccess;
}

// Of work that was enqueued before, CUDA tells whoever calls next.
void TestFailedWorkIsNotTheLaunch() {
  AddDevice({ProfileOf("A100"), 80});
  Tensor tensor;
  const auto message = [&] {
    return MessageOf<CudaError>([&] { Launch(tensor.params, ElementType::kFloat, nullptr); });
  };
  const std::string earlier = "an operation that was enqueued before it failed on the GPU";
  for (const cudaError_t error : {cudaErrorIllegalAddress, cudaErrorAssert, cudaErrorLaunchFailure,
                                  cudaErrorMisalignedAddress, cudaErrorECCUncorrectable}) {
    TheMachine().launch_error = error;
    for (const std::string& part : {earlier, std::string("launching kernel nchw_plane"),
                                    std::string("CUDA_LAUNCH_BLOCKING"), std::string("restart")}) {
      Expect(Has(message(), part), "the message has '" + part + "': " + message());
    }
  }
  TheMachine().launch_error = cudaErrorIllegalAddress;
  Expect(Has(message(), "cudaErrorIllegalAddress"), "CUDA's name: " + message());
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
  Expect(!Has(message(), earlier) && Has(message(), "launching kernel nchw_plane"),
         "where launches wait it is the launch: " + message());
  Expect(Has(message(), "failed: cudaErrorIllegalAddress"), "and so it is told: " + message());
  setenv("CUDA_LAUNCH_BLOCKING", "0", 1);
  Expect(Has(message(), earlier), "0 is not to wait: " + message());
  unsetenv("CUDA_LAUNCH_BLOCKING");
  TheMachine().launch_error = cudaErrorNoKernelImageForDevice;
  Expect(Has(message(), "FRN_ONNX_CUDA_ARCHITECTURES=native"), "the cure: " + message());
  TheMachine().launch_error = cudaErrorInsufficientDriver;
  Expect(Has(message(), "no NVIDIA driver here, or it is older than the CUDA"),
         "the cure: " + message());
  TheMachine().launch_error = cudaSuccess;
}

// Under a capture, be it of another thread: loading is allowed, and nothing is left to load.
void TestCaptures() {
  AddDevice({ProfileOf("H200")});
  TheMachine().captures = true;
  TheMachine().capture_mode = cudaStreamCaptureModeThreadLocal;
  Tensor tensor;
  Launch(tensor.params, ElementType::kFloat, nullptr);
  Expect(tensor.values[0] == 4.0f, "the first launch may be captured");
  Expect(TheMachine().capture_mode == cudaStreamCaptureModeThreadLocal, "the mode is put back");

  AddDevice({ProfileOf("H200")});
  TheMachine().captures = false;
  WarmUp();
  const int writes = TheMachine().attribute_writes, reads = TheMachine().attribute_reads;
  TheMachine().captures = true;
  TheMachine().load_error = cudaErrorStreamCaptureUnsupported;
  Tensor another;
  Launch(another.params, ElementType::kFloat, nullptr);
  Expect(TheMachine().attribute_writes == writes && TheMachine().attribute_reads == reads,
         "after a warm-up a launch loads nothing");

  AddDevice({ProfileOf("H200")});
  const std::string message =
      MessageOf<CudaError>([&] { Launch(another.params, ElementType::kFloat, nullptr); });
  Expect(Has(message, "captured into a CUDA graph") && Has(message, "frn_onnx.warm_up(device)"),
         "where CUDA does not allow it, the cure: " + message);
  Expect(TheMachine().capture_mode == cudaStreamCaptureModeThreadLocal, "the mode is put back");
  TheMachine().load_error = cudaSuccess;
  Launch(another.params, ElementType::kFloat, nullptr);
  TheMachine().captures = false;
  TheMachine().capture_mode = cudaStreamCaptureModeGlobal;
}

void TestLaunchOnGoesBack() {
  const int other = AddDevice({ProfileOf("L4"), 80});
  TheMachine().current = 0;
  TheMachine().devices_set.clear();
  Tensor tensor;
  LaunchOn(other, tensor.params, ElementType::kFloat, nullptr);
  Expect(TheMachine().launches.back().device == other, "runs on the device asked for");
  Expect(TheMachine().devices_set == std::vector<int>({other, 0}), "and goes back");
  WarmUpOn(other);
  Expect(TheMachine().devices_set == std::vector<int>({other, 0, other, 0}), "a warm-up, too");
  const std::string message =
      MessageOf<CudaError>([&] { LaunchOn(99, tensor.params, ElementType::kFloat, nullptr); });
  Expect(Has(message, "choosing the CUDA device failed"), "no such device: " + message);
  Expect(TheMachine().current == 0, "after an error, too");
}

// Setting a device makes a context on it, even where it is current.
void TestLaunchOnTheCurrentDeviceSetsNone() {
  const int current = AddDevice({ProfileOf("L4"), 80});
  TheMachine().devices_set.clear();
  Tensor tensor;
  LaunchOn(current, tensor.params, ElementType::kFloat, nullptr);
  WarmUpOn(current);
  Expect(TheMachine().launches.size() == 1 && TheMachine().devices_set.empty(), "none is set");
}

void TestRefusals() {
  AddDevice({ProfileOf("H200")});
  Tensor empty({0, 1, 2, 8});
  Launch(empty.params, ElementType::kFloat, nullptr);
  Tensor misaligned;
  misaligned.params.x = reinterpret_cast<const char*>(misaligned.values.data()) + 2;
  Expect(Has(MessageOf<FrnError>([&] { Launch(misaligned.params, ElementType::kFloat, nullptr); }),
             "must begin at a multiple of their element's 4 bytes"),
         "misaligned x");
  Tensor large;
  SetShape({1, 1, 1, (int64_t{1} << 30) + 1}, &large.params);
  Expect(Has(MessageOf<FrnError>([&] { Launch(large.params, ElementType::kFloat, nullptr); }),
             "is too large for the CUDA kernels"),
         "too large x");
  Expect(TheMachine().launches.empty(), "nothing was launched");
}

void TestNoDevice() {
  const std::vector<Machine::Device> devices = std::move(TheMachine().devices);
  TheMachine().devices.clear();
  Tensor tensor;
  Expect(Has(MessageOf<CudaError>([&] { Launch(tensor.params, ElementType::kFloat, nullptr); }),
             "looking for a CUDA device failed"),
         "no device");
  TheMachine().devices = devices;
}

}  // namespace
}  // namespace frn::cuda

int main() {
  using namespace frn::cuda;
  TestDrivers();
  TestResultAndStream();
  TestDevicesAreReadOnce();
  TestClustersNeedCodeForThem();
  TestClustersWithoutRoom();
  TestLargeClustersAreNotAllowed();
  TestClusterErrorsAreRetried();
  TestOtherErrorsAreReported();
  TestFailedWorkIsNotTheLaunch();
  TestCaptures();
  TestLaunchOnGoesBack();
  TestLaunchOnTheCurrentDeviceSetsNone();
  TestRefusals();
  TestNoDevice();
  std::printf("launcher: %d failed\n", failures);
  return failures == 0 ? 0 : 1;
}
