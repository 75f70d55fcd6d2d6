#include "tests/fuzz_run.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>

#include "tests/elements.h"
#include "tests/reference.h"

namespace frn_test {
namespace {

using fake_ort::Dims;
using fake_ort::Input;
using fake_ort::Order;
using fake_ort::Outcome;

thread_local int fail_allocation = 0;
thread_local bool allocation_failed = false;

constexpr size_t kAround = 64;  // bytes before and behind Y that are looked at
constexpr char kCanary = 0x5b;
constexpr char kUnnoticed[] = "no memory, unnoticed";
constexpr OrtErrorCode kFaultCode = ORT_EP_FAIL;  // none of the library's own

}  // namespace

void FailAllocation(int nth) {
  fail_allocation = nth;
  allocation_failed = false;
}
bool AllocationFailed() { return allocation_failed; }

}  // namespace frn_test

// Every operator new of the program, so that allocations of the library can be made to fail.
void* operator new(size_t size) {
  if (frn_test::fail_allocation > 0 && !fake_ort::Inside::Now() &&
      --frn_test::fail_allocation == 0) {
    frn_test::allocation_failed = true;
    throw std::bad_alloc();
  }
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return operator new(size, std::nothrow);
}
// Not inlined: GCC would take free for the wrong partner of the operator new that it still sees.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace frn_test {

// The tensors of a case in guarded memory.
struct Fuzzer::Placed {
  fake_ort::Node node;
  char* y = nullptr;
  size_t bytes = 0;               // of X and of Y
  size_t before = 0, behind = 0;  // bytes around Y that are ours to look at
};

std::string Fuzzer::Run(const FuzzCase& test) {
  const auto& inputs = test.node.inputs;
  const ElementType type =
      inputs.empty() ? kFloat : inputs[0].known.type;  // that ONNX Runtime chooses an op by
  const OrtCustomOp* op = ops_.Find(type, test.residual);
  if (op == nullptr) {
    ++counts_.no_op;
    return "";
  }
  ForceTarget(test.target);
  const int64_t live = fake_ort::LiveObjects();
  std::string problem = Check(test, *op);
  // Once a second the CPU quota is read, by streams, which keep to themselves that memory lacked;
  // without it there is no quota. That was it if the same does not happen again.
  if (problem == kUnnoticed) problem = Check(test, *op);
  if (problem.empty() && fake_ort::LiveObjects() != live) {
    problem = std::to_string(fake_ort::LiveObjects() - live) + " objects were not released";
  }
  return problem;
}

std::string Fuzzer::Check(const FuzzCase& test, const OrtCustomOp& op) {
  Placed placed;
  placed.node = test.node;
  const auto& inputs = test.node.inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i > 0 && params_.size() < i) params_.emplace_back(64 << 20);
    const Guarded& memory = i == 0 ? x_ : params_[i - 1];
    const std::vector<char>& data = test.data[i];
    char* at = memory.Place(data.size(), test.at_end, test.offsets[i]);
    if (!data.empty()) std::memcpy(at, data.data(), data.size());
    placed.node.inputs[i].data = at;
  }
  placed.bytes = inputs.empty() ? 0 : test.data[0].size();
  placed.y = y_.Place(placed.bytes, test.at_end, test.offsets.back());
  placed.before = test.at_end ? kAround : test.offsets.back();
  placed.behind = test.at_end ? test.offsets.back() : kAround;
  placed.node.y = placed.y;

  const Verdict verdict = Judge(test);
  const auto arm = [&] {
    fake_ort::FailCall(test.fault == Fault::kCall ? test.fault_at : 0, kFaultCode);
    FailAllocation(test.fault == Fault::kMemory ? test.fault_at : 0);
  };
  // Whether something failed as asked: then an error is right, and nothing else is looked at. A
  // failure is also how an attribute of another type, or the absence of a name, is told.
  const auto faulted = [&](const Outcome& outcome, std::string* problem) {
    const bool call = fake_ort::CallFailed(), memory = AllocationFailed();
    const std::string name = call ? fake_ort::FailedCall() : "";
    fake_ort::FailCall(0, ORT_FAIL);
    FailAllocation(0);
    if (!call && !memory) return false;
    ++counts_.faulted;
    const bool may_go_on = name.find("Attribute") != std::string::npos ||
                           name == "KernelInfo_GetNodeName" || verdict == Verdict::kRefusedWhenMade;
    if (outcome.code == ORT_OK && call && !may_go_on) *problem = name + " failed, unnoticed";
    if (outcome.code != ORT_OK && call && !may_go_on && outcome.code != kFaultCode) {
      *problem = name + " failed, and the status has another code";
    }
    if (outcome.code == ORT_OK && memory) *problem = kUnnoticed;
    return true;
  };

  std::string problem;
  arm();
  const fake_ort::Session session(op, placed.node);
  if (faulted(session.made(), &problem)) return problem;
  if (verdict == Verdict::kRefusedWhenMade) {
    ++counts_.refused_made;
    if (session.made().code == ORT_OK) return "was not refused when it was made";
    if (session.made().message.rfind("FRN: ", 0) != 0) return "says " + session.made().message;
    return "";
  }
  if (session.made().code != ORT_OK) return "was refused: " + session.made().message;

  std::optional<fake_ort::TensorType> y;
  arm();
  const Outcome inferred = session.Infer(&y);
  if (faulted(inferred, &problem)) return problem;
  if (inferred.code != ORT_OK) return "no shape: " + inferred.message;
  const fake_ort::TensorType& x = inputs[0].known;
  if (y.has_value() != !x.dims.empty()) return "a shape of Y where X has none, or the reverse";
  if (y.has_value() && (y->dims != x.dims || y->type != x.type)) return "another shape than X's";
  for (size_t i = 0; i < x.names.size(); ++i) {
    if (!x.names[i].empty() && y->names[i] != x.names[i]) return "a dimension lost its name";
  }

  const int64_t elements = CountOf(inputs[0].dims);
  const bool too_large = elements * SizeOf(x.type) != static_cast<int64_t>(placed.bytes);
  if (verdict == Verdict::kRuns && too_large) return "";  // it would run, with more memory

  arm();
  const Outcome ran = session.Run(placed.node, Order::kForwards);
  if (faulted(ran, &problem)) return problem;
  if (verdict == Verdict::kRefusedWhenRun) {
    ++counts_.refused_run;
    if (ran.code == ORT_OK) return "was not refused when it ran";
    return ran.message.rfind("FRN: ", 0) == 0 ? "" : "says " + ran.message;
  }
  if (ran.code != ORT_OK) return "failed: " + ran.message;
  ++counts_.ran;
  return CheckResult(test, session, &placed);
}

namespace {

Problem ProblemOf(const FuzzCase& test) {
  const auto& node = test.node;
  const Dims& x = node.inputs[0].dims;
  const int64_t channel = ChannelAxis(std::get<Dims>(node.axes));
  Problem problem{};
  problem.type = node.inputs[0].known.type;
  problem.batch = x[0];
  problem.outer = problem.inner = 1;
  problem.channels = x[channel];
  problem.x = test.data[0].data();
  if (test.residual) problem.residual = test.data[kResidual].data();
  for (size_t axis = 1; axis < x.size(); ++axis) {
    if (static_cast<int64_t>(axis) < channel) problem.outer *= x[axis];
    if (static_cast<int64_t>(axis) > channel) problem.inner *= x[axis];
  }
  const float* epsilon = std::get_if<float>(&node.epsilon);
  problem.epsilon.assign(problem.channels, epsilon != nullptr ? *epsilon : 1e-6f);
  std::vector<double>* const params[] = {&problem.gamma, &problem.beta, &problem.tau,
                                         &problem.epsilon};
  for (size_t i = 1; i < InputsOf(test.residual) && i < node.inputs.size(); ++i) {
    const Role role = RoleOf(test.residual, i);
    if (role < kGamma || !node.inputs[i].present) continue;
    std::vector<double>& values = *params[role - kGamma];
    values.resize(problem.channels);
    for (int64_t c = 0; c < problem.channels; ++c) {
      values[c] = Load(node.inputs[i].known.type, test.data[i].data(), c);
    }
  }
  return problem;
}

}  // namespace

std::string Fuzzer::CheckResult(const FuzzCase& test, const fake_ort::Session& session,
                                Placed* placed) {
  if (placed->bytes == 0) return "";
  const std::vector<char> apart(placed->y, placed->y + placed->bytes);
  const Problem problem = ProblemOf(test);
  const std::string error = FindError(problem.type, ComputeReference(problem), apart.data());
  if (!error.empty()) return error;

  // Again, in another order and with canaries around.
  std::fill_n(placed->y - placed->before, placed->before + placed->bytes + placed->behind, kCanary);
  if (session.Run(placed->node, test.order).code != ORT_OK) return "failed the second time";
  if (std::memcmp(placed->y, apart.data(), placed->bytes) != 0) {
    return "other bits in another order of the tasks";
  }
  const auto intact = [](const char* at, size_t count) {
    return std::all_of(at, at + count, [](char byte) { return byte == kCanary; });
  };
  if (!intact(placed->y - placed->before, placed->before)) return "wrote before Y";
  if (!intact(placed->y + placed->bytes, placed->behind)) return "wrote behind Y";
  for (size_t i = 0; i < test.data.size(); ++i) {
    const std::vector<char>& data = test.data[i];
    if (!data.empty() && std::memcmp(placed->node.inputs[i].data, data.data(), data.size()) != 0) {
      return "changed input " + std::to_string(i);
    }
  }
  fake_ort::Node& node = placed->node;
  for (size_t over = 0; over <= (test.residual ? kResidual : kX); ++over) {
    node.y = node.inputs[over].data;
    if (session.Run(node, test.order).code != ORT_OK) return "failed in place";
    if (std::memcmp(node.y, apart.data(), placed->bytes) != 0) return "other bits in place";
    std::memcpy(node.y, test.data[over].data(), placed->bytes);
  }
  return "";
}

}  // namespace frn_test
