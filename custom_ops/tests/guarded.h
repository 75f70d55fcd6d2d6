// Memory between two pages that may not be touched: a read or write outside ends the program,
// masked vector loads included, which AddressSanitizer does not see.

#ifndef FRN_ONNX_TESTS_GUARDED_H_
#define FRN_ONNX_TESTS_GUARDED_H_

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace frn_test {

class Guarded {
 public:
  explicit Guarded(size_t bytes) {
    const size_t page = 64 << 10;  // a multiple of every page size in use
    bytes_ = (bytes + page - 1) / page * page;
    size_ = bytes_ + 2 * page;
#ifdef _WIN32
    memory_ = static_cast<char*>(VirtualAlloc(nullptr, size_, MEM_RESERVE, PAGE_NOACCESS));
    const bool made = memory_ != nullptr &&
                      (bytes_ == 0 ||
                       VirtualAlloc(memory_ + page, bytes_, MEM_COMMIT, PAGE_READWRITE) != nullptr);
#else
    memory_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    const bool made =
        memory_ != MAP_FAILED &&
        (bytes_ == 0 || mprotect(memory_ + page, bytes_, PROT_READ | PROT_WRITE) == 0);
#endif
    if (!made) {
      std::perror("no memory for a guarded buffer");
      std::exit(1);
    }
    begin_ = memory_ + page;
  }
  ~Guarded() {
#ifdef _WIN32
    VirtualFree(memory_, 0, MEM_RELEASE);
#else
    munmap(memory_, size_);
#endif
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  // `bytes` that end, or begin, `offset` bytes from the page that may not be touched.
  char* Place(size_t bytes, bool at_end, size_t offset = 0) const {
    if (bytes + offset > bytes_) {
      std::fprintf(stderr, "a guarded buffer is too small: %zu bytes\n", bytes + offset);
      std::exit(1);
    }
    return at_end ? begin_ + bytes_ - offset - bytes : begin_ + offset;
  }

 private:
  char* memory_;
  char* begin_;
  size_t bytes_, size_;
};

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_GUARDED_H_
