// One call of FRN, as its parts (planes.h, rows.h, scales.h) see it.

#ifndef FRN_ONNX_CPU_FRN_CALL_H_
#define FRN_ONNX_CPU_FRN_CALL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "cpu/cache_size.h"
#include "cpu/element.h"
#include "cpu/executor.h"
#include "cpu/kernels.h"
#include "cpu/parameters.h"
#include "cpu/split.h"
#include "frn_shape.h"

namespace frn {

// Whether y is written past the caches: from an address that is no multiple of an element on, no
// number of elements leads to one of a vector.
template <class T>
bool IsLarge(const FrnShape& shape, const T* y) {
  return shape.elements() * static_cast<int64_t>(sizeof(T)) >= LargeBytes() &&
         reinterpret_cast<uintptr_t>(y) % sizeof(T) == 0;
}

template <class T>
struct FrnCall {
  const Kernels<T>& kernels;
  const FrnShape shape;
  const T* const x;
  const T* const residual;  // nullptr: none
  T* const y;
  const Parameters<ComputeType<T>>& params;
  Executor& executor;
  const bool large;  // as kernels.h has it

  // The factor that the squares of all channels asked for last (scales.h).
  mutable std::atomic<ComputeType<T>> guess{1};

  // Of the first element of segment o of channel c of sample n.
  int64_t Offset(int64_t n, int64_t o, int64_t c) const {
    return ((n * shape.outer + o) * shape.channels + c) * shape.inner;
  }

  // Of the residual from element `at` on.
  const T* ResidualAt(int64_t at) const { return residual == nullptr ? nullptr : residual + at; }

  // task(i) for each i in [0, count).
  template <class F>
  void Run(int64_t count, F&& task, TaskOrder order = TaskOrder::kForwards) const {
    auto fenced = [&](int64_t i) {
      task(i);
      if (large) kernels.fence();
    };
    if (count == 1) {
      fenced(0);
    } else {
      executor.Run(
          count, [](void* self, int64_t i) { (*static_cast<decltype(fenced)*>(self))(i); }, &fenced,
          order);
    }
  }

  // unit(u) for each of `count` units of `bytes` each, several to a task where they are small.
  template <class F>
  void RunUnits(int64_t count, int64_t bytes, F&& unit) const {
    const int64_t per_task = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, bytes));
    Run(CeilDiv(count, per_task), [&](int64_t task) {
      const int64_t end = std::min(count, (task + 1) * per_task);
      for (int64_t u = task * per_task; u < end; ++u) unit(u);
    });
  }
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_FRN_CALL_H_
