// A device as the harness needs it: memory, one stream, timing. gpu_cuda.cu is a GPU, gpu_simt.cc
// the CPU under the emulator, on which the benchmarks are dry-run.

#ifndef FRN_ONNX_BENCHMARKS_GPU_GPU_H_
#define FRN_ONNX_BENCHMARKS_GPU_GPU_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace frn::bench {

std::string DeviceName();
void* Alloc(size_t bytes);
void Free(void* memory);

// These three are complete when they return.
void Upload(void* to, const void* from, size_t bytes);
void Download(void* to, const void* from, size_t bytes);
void Fill(void* memory, int byte, size_t bytes);

// The stream that launches and copies go to; copies from device to device on it, by the driver, and
// by a plain kernel (whole packs), which reads `other`, too, unless it is null.
void* Stream();
void Copy(void* to, const void* from, size_t bytes);
void CopyByKernel(void* to, const void* from, const void* other, size_t bytes);
void Synchronize();

// What `enqueue` puts on the stream, captured as one CUDA graph and replayed: milliseconds of each
// replay, after one that is not counted.
std::vector<float> TimeReplays(const std::function<void()>& enqueue, int replays);

}  // namespace frn::bench

#endif  // FRN_ONNX_BENCHMARKS_GPU_GPU_H_
