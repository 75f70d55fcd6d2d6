// The golden file (tests/golden.py says what is in it) against every CPU target that this build has
// and this machine supports, threads and places in memory included. Needs nothing but the file:
//
//   golden_test tests/data/frn_golden.bin

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/cpu_target.h"
#include "tests/byte_reader.h"
#include "tests/elements.h"
#include "tests/fake_ort.h"
#include "tests/guarded.h"
#include "tests/ops.h"
#include "tests/reference.h"

namespace {

using namespace frn_test;
using fake_ort::Dims;
using fake_ort::Order;

class Reader : public ByteReader {
 public:
  explicit Reader(const char* path) : ByteReader(path) {
    if (Bytes(8) != std::vector<char>{'F', 'R', 'N', 'G', 'O', 'L', 'D', '1'}) {
      throw std::runtime_error("the file is no golden file");
    }
  }

  Dims Sizes() {
    Dims sizes(Value<uint32_t>());
    for (int64_t& size : sizes) size = Value<int64_t>();
    return sizes;
  }
};

struct Golden {
  std::string name;
  bool residual;
  fake_ort::Node node;
  std::vector<std::vector<char>> data;  // of each input
  Reference expected;
};

Golden ReadCase(Reader& file) {
  Golden golden;
  const std::vector<char> name = file.Bytes(file.Value<uint32_t>());
  golden.name.assign(name.begin(), name.end());
  const auto type = static_cast<ElementType>(file.Value<uint32_t>());
  golden.node.epsilon = file.Value<float>();
  const Dims x = file.Sizes(), axes = file.Sizes();
  golden.node.axes = axes;
  const uint32_t present = file.Value<uint32_t>();
  const int64_t count = CountOf(x), channel = ChannelAxis(axes);
  Dims param(axes.size() + 2 - channel, 1);
  param[0] = x[channel];
  const ElementType param_type = type == kDouble ? kDouble : kFloat;
  golden.residual = (present & 4) != 0;
  for (size_t i = 0; i < InputsOf(golden.residual); ++i) {
    const Role role = RoleOf(golden.residual, i);
    fake_ort::Input& input = golden.node.inputs.emplace_back();
    input.present = role < kTau || (present >> (role - kTau) & 1) != 0;
    input.known.type = role < kGamma ? type : role == kEpsilon ? kFloat : param_type;
    input.dims = input.known.dims = role < kGamma ? x : param;
    std::vector<char>& data = golden.data.emplace_back();
    if (!input.present) continue;
    data = file.Bytes(role < kGamma ? count * SizeOf(type) : param[0] * SizeOf(param_type));
    if (role == kEpsilon && param_type == kDouble) {  // the op takes it in float
      const std::vector<char> wide = data;
      data.resize(param[0] * SizeOf(kFloat));
      for (int64_t c = 0; c < param[0]; ++c)
        Store(kFloat, data.data(), c, Load(kDouble, wide.data(), c));
    }
  }
  for (int64_t i = 0; i < count; ++i) golden.expected.y.push_back(file.Value<double>());
  for (int64_t i = 0; i < count; ++i) golden.expected.allowed.push_back(file.Value<float>());
  return golden;
}

// What is wrong with one target's answer, if anything.
std::string Check(const Golden& golden, const Ops& ops, Order order, bool at_end, bool constant,
                  size_t offset) {
  static const Guarded memory[kRoles + 1] = {Guarded(1 << 20), Guarded(1 << 20), Guarded(1 << 16),
                                             Guarded(1 << 16), Guarded(1 << 16), Guarded(1 << 16),
                                             Guarded(1 << 20)};
  fake_ort::Node node = golden.node;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const std::vector<char>& data = golden.data[i];
    node.inputs[i].constant = RoleOf(golden.residual, i) >= kGamma && constant;
    node.inputs[i].data = memory[i].Place(data.size(), at_end, offset);
    if (!data.empty()) std::memcpy(node.inputs[i].data, data.data(), data.size());
  }
  const size_t bytes = golden.data[0].size();
  char* const y = memory[kRoles].Place(bytes, at_end, offset);
  std::fill_n(y, bytes, '\xff');  // what an earlier run of this case left there would be right
  node.y = y;
  const fake_ort::Session session(*ops.Find(node.inputs[0].known.type, golden.residual), node);
  if (session.made().code != ORT_OK) return session.made().message;
  const fake_ort::Outcome ran = session.Run(node, order);
  if (ran.code != ORT_OK) return ran.message;
  return FindError(node.inputs[0].known.type, golden.expected, node.y);
}

std::vector<Golden> ReadCases(const char* path) {
  Reader file(path);
  std::vector<Golden> cases(file.Value<uint32_t>());
  for (Golden& golden : cases) golden = ReadCase(file);
  return cases;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: golden_test FILE\n");
    return 2;
  }
  std::vector<Golden> cases;
  try {
    cases = ReadCases(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "golden_test: %s\n", error.what());
    return 2;
  }
  const Ops ops;
  int failures = 0, targets = 0;
  for (const frn::CpuTarget& target : frn::CpuTargets()) {
    if (target.kernels == nullptr || !target.supported) {
      std::printf("skipped: %s (not compiled in, or not supported here)\n", target.name);
      continue;
    }
    ForceTarget(target.name);
    ++targets;
    for (const Golden& golden : cases) {
      for (int way = 0; way < 4; ++way) {
        const bool odd = (way & 1) != 0, constant = (way & 2) != 0;
        const std::string error = Check(golden, ops, odd ? Order::kBackwards : Order::kForwards,
                                        !odd, constant, way == 3 ? 3 : 0);
        if (error.empty()) continue;
        std::printf("FAIL %s, %s: %s\n", target.name, golden.name.c_str(), error.c_str());
        ++failures;
      }
    }
  }
  std::printf("%zu cases, %d targets, %d failures\n", cases.size(), targets, failures);
  return failures == 0 ? 0 : 1;
}
