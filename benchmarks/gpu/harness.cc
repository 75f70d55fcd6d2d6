// The kernels for the benchmarks, as C functions that harness.py calls through ctypes. Whatever
// fails returns false, and bench_error says why.

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "cuda/call.h"
#include "cuda/launch.h"
#include "gpu.h"

using frn::cuda::Candidate;
using frn::cuda::ElementType;
using frn::cuda::KernelParams;
using frn::cuda::Plan;

extern "C" {

// A plan as Python sees it; the fields of Plan, Cut and Candidate.
struct PlanRecord {
  int64_t kernel, blocks, threads, smem_bytes;
  int64_t cluster, stage, stage_offset, tile_planes, lanes, strip_columns, strips;
  double passes, estimate;
};

struct DeviceRecord {
  char name[256];
  int64_t sms, threads_per_sm, blocks_per_sm, smem_per_sm, smem_per_block, l2_bytes, gb_per_second,
      largest_cluster;
};

// One call of the kernels: KernelParams with the shape as (batch, outer, channels, inner).
struct CallRecord {
  const void* x;
  const void* residual;  // null: none
  void* y;
  const void* gamma;
  const void* beta;
  const void* tau;  // null: none
  const float* epsilons;
  int64_t gamma_is_float, beta_is_float, tau_is_float;
  double epsilon;
  int64_t shape[4];
  int64_t type;  // of ElementType
};

}  // extern "C"

namespace {

std::string& LastError() {
  thread_local std::string error;
  return error;
}

template <class Body>
bool Guard(Body&& body) {
  try {
    body();
    return true;
  } catch (const std::exception& error) {
    LastError() = error.what();
    return false;
  }
}

frn::FrnShape ShapeOf(const int64_t* dims) {
  return frn::cuda::Canonical({dims[0], dims[1], dims[2], dims[3]});
}

KernelParams ParamsOf(const CallRecord& call) {
  KernelParams params;
  params.x = call.x;
  params.residual = call.residual;
  params.y = call.y;
  params.gamma = {call.gamma, call.gamma_is_float != 0};
  params.beta = {call.beta, call.beta_is_float != 0};
  params.tau = {call.tau, call.tau_is_float != 0};
  params.epsilon = call.epsilons;
  params.epsilon_value = static_cast<float>(call.epsilon);
  frn::cuda::SetShape(ShapeOf(call.shape), &params);
  return params;
}

PlanRecord RecordOf(const Candidate& candidate) {
  const Plan& plan = candidate.plan;
  const frn::cuda::Cut& cut = plan.cut;
  return {static_cast<int64_t>(plan.kernel),
          plan.blocks,
          plan.threads,
          plan.smem_bytes,
          cut.cluster,
          cut.stage,
          cut.stage_offset,
          cut.tile_planes,
          cut.lanes,
          cut.strip_columns,
          cut.strips.divisor,
          candidate.passes,
          candidate.estimate};
}

Plan PlanOf(const PlanRecord& record) {
  Plan plan{static_cast<frn::cuda::Kernel>(record.kernel)};
  plan.blocks = record.blocks;
  plan.threads = static_cast<int>(record.threads);
  plan.smem_bytes = record.smem_bytes;
  plan.cut.cluster = static_cast<int>(record.cluster);
  plan.cut.stage = static_cast<int>(record.stage);
  plan.cut.stage_offset = static_cast<int>(record.stage_offset);
  plan.cut.tile_planes = static_cast<int>(record.tile_planes);
  plan.cut.lanes = static_cast<int>(record.lanes);
  plan.cut.strip_columns = static_cast<int>(record.strip_columns);
  plan.cut.strips = frn::cuda::FastDivisor::Of(record.strips);
  return plan;
}

// With a plan, or, for null, with the one that the planner chooses.
void Enqueue(const CallRecord& call, const PlanRecord* plan) {
  const ElementType type = static_cast<ElementType>(call.type);
  void* stream = frn::bench::Stream();
  if (plan == nullptr) {
    frn::cuda::Launch(ParamsOf(call), type, stream);
  } else {
    frn::cuda::LaunchPlan(ParamsOf(call), type, PlanOf(*plan), stream);
  }
}

}  // namespace

extern "C" {

const char* bench_error() { return LastError().c_str(); }

const char* bench_kernel_name(int64_t kernel) {
  return frn::cuda::KernelName(static_cast<frn::cuda::Kernel>(kernel));
}

bool bench_device(DeviceRecord* out) {
  return Guard([&] {
    const frn::cuda::DeviceProfile p = frn::cuda::CurrentDevice();
    *out = {{},
            p.sms,
            p.threads_per_sm,
            p.blocks_per_sm,
            p.smem_per_sm,
            p.smem_per_block,
            p.l2_bytes,
            p.gb_per_second,
            p.largest_cluster};
    frn::bench::DeviceName().copy(out->name, sizeof(out->name) - 1);
  });
}

bool bench_alloc(int64_t bytes, void** out) {
  return Guard([&] { *out = frn::bench::Alloc(static_cast<size_t>(bytes)); });
}
bool bench_free(void* memory) {
  return Guard([&] { frn::bench::Free(memory); });
}
bool bench_upload(void* to, const void* from, int64_t bytes) {
  return Guard([&] { frn::bench::Upload(to, from, static_cast<size_t>(bytes)); });
}
bool bench_download(void* to, const void* from, int64_t bytes) {
  return Guard([&] { frn::bench::Download(to, from, static_cast<size_t>(bytes)); });
}
bool bench_fill(void* memory, int byte, int64_t bytes) {
  return Guard([&] { frn::bench::Fill(memory, byte, static_cast<size_t>(bytes)); });
}

// The planner's candidates, the best first; `*count` is how many `out` has room for, then how many
// there are.
bool bench_plans(const int64_t* shape, int64_t type, bool aligned, bool residual, bool clusters,
                 PlanRecord* out, int64_t* count) {
  return Guard([&] {
    frn::cuda::DeviceProfile device = frn::cuda::CurrentDevice();
    if (!clusters) device.largest_cluster = 1;
    std::vector<Candidate> found = frn::cuda::Candidates(
        {ShapeOf(shape), static_cast<ElementType>(type), aligned, residual}, device);
    std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
      return a.estimate < b.estimate;
    });
    const size_t room = static_cast<size_t>(*count);
    for (size_t i = 0; i < std::min(room, found.size()); ++i) out[i] = RecordOf(found[i]);
    *count = static_cast<int64_t>(found.size());
  });
}

// Runs one call to its end.
bool bench_run(const CallRecord* call, const PlanRecord* plan) {
  return Guard([&] {
    Enqueue(*call, plan);
    frn::bench::Synchronize();
  });
}

// Milliseconds of each of `replays` replays of a graph with all the calls in it.
bool bench_time(const CallRecord* calls, int64_t count, const PlanRecord* plan, int64_t replays,
                float* milliseconds) {
  return Guard([&] {
    const std::vector<float> times = frn::bench::TimeReplays(
        [&] { std::for_each_n(calls, count, [&](const CallRecord& c) { Enqueue(c, plan); }); },
        static_cast<int>(replays));
    std::copy(times.begin(), times.end(), milliseconds);
  });
}

// The same for copies to y: of x by the driver, or by a kernel, which reads residual, too, where
// there is one.
bool bench_time_copy(const CallRecord* calls, int64_t count, int64_t bytes, bool by_kernel,
                     int64_t replays, float* milliseconds) {
  return Guard([&] {
    const size_t size = static_cast<size_t>(bytes);
    const auto copy = [&](const CallRecord& c) {
      by_kernel ? frn::bench::CopyByKernel(c.y, c.x, c.residual, size)
                : frn::bench::Copy(c.y, c.x, size);
    };
    const std::vector<float> times = frn::bench::TimeReplays(
        [&] { std::for_each_n(calls, count, copy); }, static_cast<int>(replays));
    std::copy(times.begin(), times.end(), milliseconds);
  });
}

}  // extern "C"
