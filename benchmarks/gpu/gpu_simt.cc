#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>

#include "gpu.h"

namespace frn::bench {

std::string DeviceName() { return "SIMT emulator on the CPU"; }

void* Alloc(size_t bytes) {
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void Free(void* memory) { std::free(memory); }
void Upload(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
void Download(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
void Fill(void* memory, int byte, size_t bytes) { std::memset(memory, byte, bytes); }
void* Stream() { return nullptr; }
void Copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
void CopyByKernel(void* to, const void* from, const void*, size_t bytes) { Copy(to, from, bytes); }
void Synchronize() {}

std::vector<float> TimeReplays(const std::function<void()>& enqueue, int replays) {
  std::vector<float> milliseconds(static_cast<size_t>(replays));
  for (float& elapsed : milliseconds) {
    const auto begin = std::chrono::steady_clock::now();
    enqueue();
    elapsed =
        std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - begin).count();
  }
  return milliseconds;
}

}  // namespace frn::bench
