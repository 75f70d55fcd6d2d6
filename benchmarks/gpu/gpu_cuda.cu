#include <cuda_runtime.h>

#include <memory>
#include <stdexcept>

#include "gpu.h"

namespace frn::bench {
namespace {

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

template <class Handle, cudaError_t (*destroy)(Handle)>
class Owned {
 public:
  ~Owned() {
    if (handle_ != nullptr) (void)destroy(handle_);
  }
  Handle* out() { return &handle_; }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

cudaStream_t TheStream() {
  static const cudaStream_t stream = [] {
    cudaStream_t made = nullptr;
    Check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "creating a stream");
    return made;
  }();
  return stream;
}

constexpr int kUnroll = 4;

__device__ uint4 Mixed(uint4 a, uint4 b) {
  return make_uint4(a.x ^ b.x, a.y ^ b.y, a.z ^ b.z, a.w ^ b.w);
}

// What a kernel as good as a copy can do: 16 bytes an access, four in flight, of two sources eight.
template <bool kHasOther>
__global__ void __launch_bounds__(512)
    CopyKernel(const uint4* from, const uint4* other, uint4* to, size_t packs) {
  const size_t threads = static_cast<size_t>(gridDim.x) * blockDim.x;
  const size_t thread = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (size_t i = thread; i < packs; i += kUnroll * threads) {
    uint4 pack[kUnroll], more[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const size_t k = i + u * threads < packs ? i + u * threads : packs - 1;
      pack[u] = __ldcs(from + k);
      if (kHasOther) more[u] = __ldcs(other + k);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (i + u * threads < packs) {
        to[i + u * threads] = kHasOther ? Mixed(pack[u], more[u]) : pack[u];
      }
    }
  }
}

}  // namespace

std::string DeviceName() {
  cudaDeviceProp properties;
  int device = 0;
  Check(cudaGetDevice(&device), "looking for a device");
  Check(cudaGetDeviceProperties(&properties, device), "reading its properties");
  return properties.name;
}

void* Alloc(size_t bytes) {
  void* memory = nullptr;
  Check(cudaMalloc(&memory, bytes), "allocating");
  return memory;
}

void Free(void* memory) { Check(cudaFree(memory), "freeing"); }

void Upload(void* to, const void* from, size_t bytes) {
  Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, TheStream()), "uploading");
  Synchronize();
}

void Download(void* to, const void* from, size_t bytes) {
  Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, TheStream()), "downloading");
  Synchronize();
}

void Fill(void* memory, int byte, size_t bytes) {
  Check(cudaMemsetAsync(memory, byte, bytes, TheStream()), "filling");
  Synchronize();
}

void* Stream() { return TheStream(); }

void Copy(void* to, const void* from, size_t bytes) {
  Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, TheStream()), "copying");
}

void CopyByKernel(void* to, const void* from, const void* other, size_t bytes) {
  constexpr size_t kThreads = 512;
  const size_t packs = bytes / sizeof(uint4);
  const size_t blocks = (packs + kUnroll * kThreads - 1) / (kUnroll * kThreads);
  const auto kernel = other == nullptr ? CopyKernel<false> : CopyKernel<true>;
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, TheStream()>>>(
      static_cast<const uint4*>(from), static_cast<const uint4*>(other), static_cast<uint4*>(to),
      packs);
  Check(cudaGetLastError(), "copying with a kernel");
}

void Synchronize() { Check(cudaStreamSynchronize(TheStream()), "synchronising"); }

std::vector<float> TimeReplays(const std::function<void()>& enqueue, int replays) {
  enqueue();  // loads the kernels, which a capture must not
  Synchronize();
  Graph graph;
  GraphExec executable;
  Check(cudaStreamBeginCapture(TheStream(), cudaStreamCaptureModeThreadLocal), "capturing");
  enqueue();
  Check(cudaStreamEndCapture(TheStream(), graph.out()), "ending the capture");
  Check(cudaGraphInstantiate(executable.out(), graph.get(), 0), "instantiating the graph");
  Check(cudaGraphLaunch(executable.get(), TheStream()), "launching the graph");

  Event begin, end;
  Check(cudaEventCreate(begin.out()), "creating an event");
  Check(cudaEventCreate(end.out()), "creating an event");
  std::vector<float> milliseconds(static_cast<size_t>(replays));
  for (float& elapsed : milliseconds) {
    Check(cudaEventRecord(begin.get(), TheStream()), "recording an event");
    Check(cudaGraphLaunch(executable.get(), TheStream()), "launching the graph");
    Check(cudaEventRecord(end.get(), TheStream()), "recording an event");
    Check(cudaEventSynchronize(end.get()), "waiting for an event");
    Check(cudaEventElapsedTime(&elapsed, begin.get(), end.get()), "reading the time");
  }
  return milliseconds;
}

}  // namespace frn::bench
