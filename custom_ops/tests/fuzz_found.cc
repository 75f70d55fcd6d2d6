#include "tests/fuzz_found.h"

#include <utility>

#include "tests/elements.h"
#include "tests/fuzz_run.h"
#include "tests/ops.h"

namespace frn_test {

using fake_ort::Outcome;

namespace {

using fake_ort::Dims;

// Every tensor so many bytes from where an element may begin, or from the end of its memory.
FuzzCase Misaligned(const std::string& target, ElementType type, const Dims& x, const Dims& axes,
                    size_t offset, bool residual = false) {
  FuzzCase test = PlainCase(target, type, x, axes, residual);
  test.at_end = false;
  for (size_t& at : test.offsets) at = offset;
  return test;
}

FuzzCase WithValues(FuzzCase test, size_t input, double value) {
  const ElementType type = test.node.inputs[input].known.type;
  const int64_t count = static_cast<int64_t>(test.data[input].size()) / SizeOf(type);
  for (int64_t i = 0; i < count; ++i) Store(type, test.data[input].data(), i, value);
  return test;
}

}  // namespace

std::vector<FoundCase> FoundCases(const std::string& target) {
  std::vector<FoundCase> found;
  const auto add = [&](const char* name, FuzzCase test) {
    found.push_back({name, std::move(test)});
  };
  const auto plain = [&](ElementType type, const Dims& x, const Dims& axes) {
    return PlainCase(target, type, x, axes);
  };

  FuzzCase test = plain(kFloat, {0, 3, 4, 4}, {2, 3});
  test.node.inputs[0].dims = {0, 3, int64_t{1} << 62, int64_t{1} << 40};
  test.node.inputs[0].known.dims.clear();
  test.node.inputs[0].known.names.clear();
  add("sizes of an empty tensor are not multiplied", test);

  test = plain(kFloat, {1, 3, 4, 4}, {2, 3});
  test.node.inputs[0].dims = {int64_t{1} << 40, 3, int64_t{1} << 40, 4};
  test.node.inputs[0].known.dims.clear();
  test.node.inputs[0].known.names.clear();
  test.data[0].clear();
  add("an X that no memory holds", test);

  for (size_t untyped = 1; untyped < 4; ++untyped) {
    test = plain(kFloat, {1, 3, 4, 4}, {2, 3});
    test.node.inputs[untyped].known.type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    add("an input that is there and has no type", test);
  }

  for (const Dims& other : {Dims{1, 3, 4, 1}, Dims{1, 3, 4}, Dims{}, Dims{1, 3, 4, 5}}) {
    for (const bool known : {true, false}) {
      test = PlainCase(target, kFloat, {1, 3, 4, 4}, {2, 3}, true);
      fake_ort::Input& residual = test.node.inputs[kResidual];
      residual.dims = other;
      residual.known.dims = known ? other : Dims();
      residual.known.names.assign(residual.known.dims.size(), "");
      test.data[kResidual].resize(CountOf(other) * SizeOf(kFloat));
      add("a residual of another shape", test);
    }
  }

  for (size_t missing = 0; missing < 3; ++missing) {
    test = plain(kFloat, {1, 3, 4, 4}, {2, 3});
    test.node.inputs[missing].present = false;
    add("a required input is absent", test);
    test = plain(kFloat, {1, 3, 4, 4}, {2, 3});
    test.node.inputs.resize(missing);
    test.data.resize(missing);
    test.offsets.assign(missing + 1, 0);
    add("a node has too few inputs", test);
  }

  // More channels in one than in the other, where the model says nothing of X.
  for (const size_t longer : {1, 2}) {
    test = plain(kFloat, {1, 4096, 1, 1}, {2, 3});
    test.node.inputs.resize(3);
    test.node.inputs[0].known.dims.clear();
    test.node.inputs[0].known.names.clear();
    for (const size_t i : {1, 2}) test.node.inputs[i].constant = true;
    test.node.inputs[3 - longer].dims[0] = 3;
    test.node.inputs[3 - longer].known.dims[0] = 3;
    test.data[3 - longer].resize(3 * SizeOf(kFloat));
    add("constants of different lengths", test);
  }

  // The radicand below zero, with ordinary and with small squares.
  for (const ElementType type : kElements) {
    for (const Dims& x : {Dims{2, 3, 7, 7}, Dims{2, 33, 1, 1}}) {
      for (const double epsilon : {-400.0, -1e-20}) {
        test = plain(type, x, {2, 3});
        test.node.inputs.push_back(test.node.inputs[1]);
        test.node.inputs[4].known.type = kFloat;
        test.data.emplace_back(x[1] * SizeOf(kFloat));
        test.offsets.push_back(0);
        test = WithValues(test, 4, epsilon);
        add("epsilon below minus the mean square",
            epsilon < -1 ? test : WithValues(test, 0, type == kHalf ? 0 : 1e-12));
      }
    }
  }

  // The scale is far beyond floats, what it makes of x is not.
  for (const ElementType type : {kFloat, kBrain}) {
    for (const Dims& axes : {Dims{2, 3}, Dims{1, 2}}) {
      for (const double gamma : {1e-30, 1e30}) {
        test = WithValues(WithValues(plain(type, {2, 3, 4, 5}, axes), 1, gamma), 0, 1e7 / gamma);
        test.node.epsilon = 0.0f;
        add("gamma small where x is huge, and the reverse", test);
      }
    }
  }

  for (const ElementType type : kElements) {
    for (const size_t offset : {1, 3, 7}) {
      add("parts of vectors at odd addresses, planes",
          Misaligned(target, type, {2, 3, 7, 7}, {2, 3}, offset));
      add("parts of vectors at odd addresses, rows",
          Misaligned(target, type, {2, 5, 3, 7}, {1, 2}, offset));
      add("planes of one element at odd addresses",
          Misaligned(target, type, {2, 7, 1, 1}, {2, 3}, offset));
      for (const Dims& x : {Dims{2, 3, 7, 7}, Dims{2, 7, 1, 1}, Dims{3, 3, 2, 2}}) {
        add("a residual at odd addresses, planes",
            Misaligned(target, type, x, {2, 3}, offset, true));
        add("a residual at odd addresses, rows", Misaligned(target, type, x, {1, 2}, offset, true));
      }
    }
    // Summed again, since squares of these are no floats.
    const double scale = type == kDouble ? 1e140 : type == kHalf ? 6e4 : 1e30;
    for (const Dims& axes : {Dims{2, 3}, Dims{1, 2}}) {
      add("huge values at odd addresses",
          WithValues(Misaligned(target, type, {2, 3, 7, 7}, axes, 1), 0, scale));
    }
  }
  const int64_t large = (13 << 20) / SizeOf(kFloat);
  add("more than the caches hold at odd addresses, planes: never ended",
      Misaligned(target, kFloat, {1, 2, large / 2}, {2}, 1));
  add("more than the caches hold at odd addresses, rows: never ended",
      Misaligned(target, kFloat, {1, large / 32, 32}, {1}, 1));
  return found;
}

std::string CheckRegistration() {
  const auto registered = [](const OrtApiBase* base, size_t* ops) {
    OrtSessionOptions* options = fake_ort::MakeOptions();
    const Outcome outcome = fake_ort::Take(RegisterCustomOps(options, base));
    *ops = fake_ort::OpsOf(options).size();
    fake_ort::FreeOptions(options);
    return outcome;
  };
  size_t ops = 0;
  for (const char* old : {"1.0.0", "1.17.3", "1.2", "", "x", "1."}) {
    const Outcome outcome = registered(fake_ort::MakeRuntime(old), &ops);
    const bool refused = outcome.code != ORT_OK && ops == 0;
    if (!refused) return std::string("takes ONNX Runtime '") + old + "'";
    if (outcome.message.find("or newer, this is") == std::string::npos) return outcome.message;
  }
  for (const char* fit : {"1.18.0", "1.23.2", "1.32.1", "1.100.0", "2.0.0"}) {
    const OrtApiBase* base = fake_ort::MakeRuntime(fit);
    for (int twice = 0; twice < 2; ++twice) {
      const Outcome outcome = registered(base, &ops);
      if (outcome.code != ORT_OK || ops == 0) return std::string(fit) + ": " + outcome.message;
    }
  }
  for (const bool call : {true, false}) {
    const OrtApiBase* base = fake_ort::MakeRuntime("1.32.0");
    for (int nth = 1; true; ++nth) {
      const int64_t live = fake_ort::LiveObjects();
      fake_ort::FailCall(call ? nth : 0, ORT_FAIL);
      FailAllocation(call ? 0 : nth);
      const Outcome outcome = registered(base, &ops);
      const bool failed = call ? fake_ort::CallFailed() : AllocationFailed();
      fake_ort::FailCall(0, ORT_FAIL);
      FailAllocation(0);
      if (!failed) break;
      if (outcome.code == ORT_OK) return "a failure, number " + std::to_string(nth) + ", unnoticed";
      const int64_t left = fake_ort::LiveObjects() - live;
      constexpr int64_t kDomains = 2;  // which stay, once they are whole
      if (left > kDomains)
        return std::to_string(left) + " objects left by failure " + std::to_string(nth);
    }
  }
  return "";
}

}  // namespace frn_test
