#include "tests/fake_ort.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/fake_ort_handles.h"

namespace fake_ort {
namespace {

thread_local int inside = 0;
thread_local int fail_in = 0;
thread_local OrtErrorCode fail_code = ORT_FAIL;
thread_local const char* failed_call = nullptr;

}  // namespace

Inside::Inside() { ++inside; }
Inside::~Inside() { --inside; }
bool Inside::Now() { return inside > 0; }

void FailCall(int nth, OrtErrorCode code) {
  fail_in = nth;
  fail_code = code;
  failed_call = nullptr;
}
bool CallFailed() { return failed_call != nullptr; }
const char* FailedCall() { return failed_call; }

int64_t LiveObjects() { return Handle::live; }

void Broken(const char* call, const std::string& rule) {
  std::fprintf(stderr, "fake_ort: %s: %s\n", call, rule.c_str());
  std::abort();
}

OrtStatus* Fail(OrtErrorCode code, const std::string& message) {
  auto* status = new OrtStatus;
  status->code = code;
  status->message = message;
  return status;
}

// The first thing that a call of the API does: a status if it is to fail.
OrtStatus* Enter(const char* call) {
  if (fail_in == 0 || --fail_in > 0) return nullptr;
  failed_call = call;
  return Fail(fail_code, std::string(call) + " failed");
}

Outcome Take(OrtStatus* status) {
  if (status == nullptr) return {};
  const Inside guard;
  Live(status, "status");
  const Outcome outcome{status->code, status->message};
  delete status;
  return outcome;
}

OrtSessionOptions* MakeOptions() {
  const Inside guard;
  return new OrtSessionOptions;
}

void FreeOptions(OrtSessionOptions* options) {
  Live(options, "options");
  delete options;
}

std::vector<const OrtCustomOp*> OpsOf(const OrtSessionOptions* options) {
  Live(options, "options");
  const Inside guard;
  std::vector<const OrtCustomOp*> ops;
  for (const OrtCustomOpDomain* domain : options->domains) {
    ops.insert(ops.end(), domain->ops.begin(), domain->ops.end());
  }
  return ops;
}

namespace {

std::vector<OrtValue> Values(const Node& node) {
  std::vector<OrtValue> values;
  for (const Input& input : node.inputs) {
    values.push_back({{}, input.known.type, input.dims, input.data});
  }
  return values;
}

}  // namespace

Session::Session(const OrtCustomOp& op, const Node& node) : op_(op), node_(node) {
  OrtKernelInfo info{{}, &node, {}};
  {
    const Inside guard;
    info.constants = Values(node);
  }
  made_ = Take(op.CreateKernelV2(&op, Api(), &info, &kernel_));
  if (made_.code == ORT_OK && kernel_ == nullptr) Broken("CreateKernelV2", "no kernel, no error");
  if (made_.code != ORT_OK) kernel_ = nullptr;
}

Session::~Session() {
  if (kernel_ != nullptr) op_.KernelDestroy(kernel_);
}

Outcome Session::Infer(std::optional<TensorType>* y) const {
  if (op_.InferOutputShapeFn == nullptr) return {};
  OrtShapeInferContext context;
  {
    const Inside guard;
    for (const Input& input : node_.inputs) {
      OrtTensorTypeAndShapeInfo& info = context.inputs.emplace_back();
      info.type = input.known;
      info.owned = false;
    }
  }
  Outcome outcome = Take(op_.InferOutputShapeFn(&op_, &context));
  const Inside guard;
  *y = context.y;
  return outcome;
}

Outcome Session::Run(const Node& node, Order order) const {
  OrtKernelContext context{{}, &node, order, {}, {}};
  {
    const Inside guard;
    context.inputs = Values(node);
  }
  return Take(op_.KernelComputeV2(kernel_, &context));
}

void RunTasks(Order order, void (*fn)(void*, size_t), size_t total, void* data) {
  if (order == Order::kForwards) {
    for (size_t i = 0; i < total; ++i) fn(data, i);
  } else if (order == Order::kBackwards) {
    for (size_t i = total; i > 0; --i) fn(data, i - 1);
  } else {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < total; i = next++) fn(data, i);
    };
    std::vector<std::thread> threads;
    {
      const Inside guard;
      for (size_t i = 1; i < std::min<size_t>(total, 3); ++i) threads.emplace_back(work);
    }
    work();
    const Inside guard;
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace fake_ort
