// Many at once, for -fsanitize=thread: registration, sessions made and closed, one session run by
// all, shapes inferred, teams of threads made and given up, and the process's shared team. Every
// result has the bits of a run alone.
//
//   threads_test [ROUNDS]

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cpu/shared_team.h"
#include "cpu/thread_team.h"
#include "tests/elements.h"
#include "tests/fuzz_case.h"
#include "tests/ops.h"

namespace {

using namespace frn_test;
using fake_ort::Order;

constexpr int kThreads = 6;
std::atomic<int> failures{0};

void Fail(const char* what) {
  std::printf("FAIL %s\n", what);
  ++failures;
}

void InThreads(const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

// A node, its inputs, and what comes out of it.
class Workload {
 public:
  Workload(const Ops& ops, ElementType type, const fake_ort::Dims& x, const fake_ort::Dims& axes,
           bool constant, bool residual = false)
      : test_(PlainCase("", type, x, axes, residual)), op_(*ops.Find(type, residual)) {
    for (size_t i = 0; i < test_.data.size(); ++i) {
      test_.node.inputs[i].data = test_.data[i].data();
      test_.node.inputs[i].constant = RoleOf(residual, i) >= kGamma && constant;
    }
    expected_.resize(test_.data[0].size());
    const fake_ort::Session alone(op_, test_.node);
    Run(alone, Order::kForwards, &expected_);
  }

  const OrtCustomOp& op() const { return op_; }
  const fake_ort::Node& node() const { return test_.node; }

  void Check(const fake_ort::Session& session, Order order) const {
    std::vector<char> y(expected_.size());
    Run(session, order, &y);
    if (y != expected_) Fail("other bits than alone");
  }

 private:
  void Run(const fake_ort::Session& session, Order order, std::vector<char>* y) const {
    fake_ort::Node node = test_.node;
    node.y = y->data();
    if (session.made().code != ORT_OK || session.Run(node, order).code != ORT_OK) Fail("an error");
  }

  FuzzCase test_;
  const OrtCustomOp& op_;
  std::vector<char> expected_;
};

void RegisterAtOnce() {
  const OrtApiBase* base = fake_ort::MakeRuntime("1.32.0");
  InThreads([&](int) {
    for (int i = 0; i < 20; ++i) {
      OrtSessionOptions* options = fake_ort::MakeOptions();
      if (fake_ort::Take(RegisterCustomOps(options, base)).code != ORT_OK) Fail("registration");
      if (fake_ort::OpsOf(options).size() < 4) Fail("too few ops");
      fake_ort::FreeOptions(options);
    }
  });
}

// Sessions of their own, made and closed while others run, and one that is shared.
void RunAtOnce(const std::vector<Workload>& workloads, int rounds) {
  std::vector<std::unique_ptr<fake_ort::Session>> shared;
  for (const Workload& work : workloads) {
    shared.push_back(std::make_unique<fake_ort::Session>(work.op(), work.node()));
  }
  InThreads([&](int thread) {
    for (int round = 0; round < rounds; ++round) {
      const size_t i = (thread + round) % workloads.size();
      const Workload& work = workloads[i];
      work.Check(*shared[i], round % 3 == 0 ? Order::kThreads : Order::kForwards);
      const fake_ort::Session own(work.op(), work.node());
      std::optional<fake_ort::TensorType> y;
      if (own.Infer(&y).code != ORT_OK || !y.has_value()) Fail("inference");
      work.Check(own, Order::kBackwards);
    }
  });
}

// Each task is done once, by whichever team, whoever else has one.
void CountTasks(frn::Executor& executor, int64_t count) {
  std::vector<std::atomic<int>> done(count);
  for (const frn::TaskOrder order : {frn::TaskOrder::kForwards, frn::TaskOrder::kBackwards}) {
    executor.Run(
        count,
        [](void* self, int64_t i) { ++(*static_cast<std::vector<std::atomic<int>>*>(self))[i]; },
        &done, order);
  }
  for (const std::atomic<int>& times : done) {
    if (times != 2) Fail("a task was not done once in each order");
  }
}

void TeamsAtOnce(int rounds) {
  InThreads([&](int thread) {
    for (int round = 0; round < rounds; ++round) {
      frn::ThreadTeam team(1 + (thread + round) % 5);
      for (int64_t count : {0, 1, 2, 7, 100}) CountTasks(team, count);
    }
    for (int round = 0; round < 4 * rounds; ++round) {
      frn::SharedTeam team((thread + round) % 4);
      CountTasks(team, 1 + round % 40);
      CountTasks(team, 13);
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  const Ops ops;
  RegisterAtOnce();
  for (const std::string& target : UsableTargets()) {
    ForceTarget(target);  // before there are threads: setenv is for one
    std::vector<Workload> workloads;
    workloads.reserve(12);
    for (ElementType type : kElements) {
      workloads.emplace_back(ops, type, fake_ort::Dims{3, 8, 20, 21}, fake_ort::Dims{2, 3}, true);
      workloads.emplace_back(ops, type, fake_ort::Dims{1, 90, 90, 10}, fake_ort::Dims{1, 2}, false);
      workloads.emplace_back(ops, type, fake_ort::Dims{1, 2, 300, 301}, fake_ort::Dims{2, 3}, true,
                             true);
    }
    RunAtOnce(workloads, rounds);
  }
  TeamsAtOnce(rounds);
  std::printf("%d failures\n", failures.load());
  return failures == 0 ? 0 : 1;
}
