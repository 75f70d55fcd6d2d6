#include "tests/fuzz_case.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/elements.h"

namespace frn_test {
namespace {

using fake_ort::Dims;
using fake_ort::Input;

constexpr int64_t kHugeSizes[] = {int64_t{1} << 31, int64_t{1} << 32, int64_t{1} << 40,
                                  int64_t{1} << 62, std::numeric_limits<int64_t>::max()};

constexpr int64_t kMostElements = 16 << 20;  // of a tensor that is really there

// A size around the widths that matter: of vectors, of folded rows, of strips.
int64_t DrawSize(Random& random) {
  if (random.In(60)) return 0;
  if (random.In(3)) return random.Int(1, 4);
  if (random.In(12)) {
    const int64_t edges[] = {8, 16, 32, 64, 128, 256, 512, 1024, 2048};
    return random.Of(edges) + random.Int(-1, 1);
  }
  return random.In(4) ? random.Int(1, 70) : random.Int(1, 17);
}

Dims DrawShape(Random& random, int64_t rank) {
  const int64_t most = random.In(2500) ? 14 << 20 >> 2 : random.In(40) ? 1 << 18 : 1 << 13;
  Dims dims(rank);
  int64_t count = 1;
  for (int64_t& dim : dims) {
    dim = std::min(DrawSize(random), std::max<int64_t>(1, most / std::max<int64_t>(1, count)));
    count *= dim;
  }
  if (most > 1 << 13 && count > 0) {  // as large as it may be: the last paths need that
    int64_t& widest = dims[random.Int(1, rank - 1)];
    widest *= std::max<int64_t>(1, most / count);
    if (random.In(2)) std::swap(dims[0], dims[random.Int(0, rank - 1)]);
  }
  return dims;
}

Dims DrawAxes(Random& random, int64_t spatial) {
  Dims axes;
  const int64_t channel = random.In(4)   ? random.Int(1, spatial + 1)
                          : random.In(2) ? 1
                                         : spatial + 1;
  for (int64_t axis = 1; axis < spatial + 2; ++axis) {
    if (axis != channel) axes.push_back(random.In(5) ? axis - (spatial + 2) : axis);
  }
  for (size_t i = axes.size(); i > 1; --i) {
    if (random.In(3)) std::swap(axes[i - 1], axes[random.Int(0, i - 1)]);
  }
  return axes;
}

ElementType AnyType(Random& random) { return static_cast<ElementType>(random.Int(0, 24)); }

Dims ParamShape(const Dims& x, const Dims& axes) {
  const int64_t channel = ChannelAxis(axes);
  Dims dims(axes.size() + 2 - channel, 1);
  dims[0] = x[channel];
  return dims;
}

// What the model says of a tensor with these dimensions: all, some, or nothing.
void Forget(Random& random, fake_ort::TensorType* known) {
  if (random.In(4)) known->dims.clear();
  known->names.assign(known->dims.size(), "");
  if (!random.In(3)) return;
  for (size_t i = 0; i < known->dims.size(); ++i) {
    if (random.In(2)) continue;
    known->dims[i] = -1;
    if (random.In(2)) known->names[i] = "N" + std::to_string(random.Int(0, 2));
  }
}

// One thing wrong, or at least unusual.
void Spoil(Random& random, FuzzCase* test) {
  auto& node = test->node;
  auto& inputs = node.inputs;
  if (inputs.empty()) return;
  Input& input = inputs[random.Int(0, static_cast<int64_t>(inputs.size()) - 1)];
  Dims* axes = std::get_if<Dims>(&node.axes);
  const auto bend = [&](Dims* dims) {
    if (dims->empty() || random.In(4)) {
      dims->insert(dims->begin() + random.Int(0, static_cast<int64_t>(dims->size())), 1);
    } else if (random.In(3)) {
      dims->erase(dims->begin() + random.Int(0, static_cast<int64_t>(dims->size()) - 1));
    } else {
      int64_t& dim = (*dims)[random.Int(0, static_cast<int64_t>(dims->size()) - 1)];
      dim = random.In(3) ? random.Of(kHugeSizes)
                         : std::max<int64_t>(0, std::min(dim, kMostElements) + random.Int(-2, 2));
    }
  };
  switch (random.Int(0, 13)) {
    case 0:  // as many axes as it likes, anywhere
      node.axes = Dims();
      for (int64_t i = random.Int(0, 8); i > 0; --i) {
        std::get<Dims>(node.axes).push_back(random.Int(-9, 9));
      }
      break;
    case 1:
      if (axes != nullptr && !axes->empty()) {
        (*axes)[0] = random.In(2) ? axes->back() : static_cast<int64_t>(random.Next());
      }
      break;
    case 2:
      if (random.In(2)) {
        node.axes = fake_ort::NoAttribute();
      } else if (random.In(2)) {
        node.axes = fake_ort::OtherAttribute();
      } else {
        node.axes = random.Int(-3, 3);
      }
      break;
    case 3: {
      const float odd[] = {-1.0f, -0.0f, 0.0f, NAN, HUGE_VALF, -HUGE_VALF, 1e-45f, 3e38f};
      node.epsilon = random.Of(odd);
      break;
    }
    case 4:
      if (random.In(2)) {
        node.epsilon = fake_ort::OtherAttribute();
      } else {
        node.epsilon = random.Int(-1, 2);
      }
      break;
    case 5:
      input.present = false;
      break;
    case 6:
      inputs.resize(random.Int(0, 8), input);
      break;
    case 7:
      input.known.type = AnyType(random);
      break;
    case 8:
      input.is_tensor = false;
      break;
    case 9:
      bend(&input.known.dims);
      input.known.names.assign(input.known.dims.size(), "");
      break;
    case 10:
      bend(&input.dims);
      break;
    case 11:  // both sides
      bend(&input.dims);
      input.known.dims = input.dims;
      input.known.names.assign(input.known.dims.size(), "");
      break;
    case 12:
      // Of no elements, and of more than there can be in each sample.
      for (int64_t& dim : inputs[0].dims) dim = random.In(2) ? random.Of(kHugeSizes) : dim;
      if (!inputs[0].dims.empty()) {
        const int64_t last = static_cast<int64_t>(inputs[0].dims.size()) - 1;
        inputs[0].dims[random.In(2) ? 0 : random.Int(0, last)] = 0;
      }
      inputs[0].known.dims.clear();
      inputs[0].known.names.clear();
      break;
    case 13:
      node.name = random.In(2) ? "" : std::string(random.Int(1, 2000), 'n');
      break;
  }
}

}  // namespace

uint64_t Random::Next() {  // splitmix64
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
int64_t Random::Int(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1));
}
double Random::Real() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
double Random::Normal() { return (Real() + Real() + Real() + Real() - 2) * 1.732; }

std::vector<char> MakeValues(Random& random, ElementType type, int64_t count,
                             const std::string& kind) {
  const Format format = FormatOf(type);
  const int top = format.max_exponent();
  const double constant = random.Normal() * 3;
  const auto sign = [&] { return random.In(2) ? -1.0 : 1.0; };
  const auto draw = [&]() -> double {
    const double ordinary = random.Normal() * 1.5 - 2.3;
    if (kind == "zeros") return random.In(2) ? -0.0 : 0.0;
    if (kind == "constant") return constant;
    if (kind == "huge") return std::ldexp(sign() * (1 + random.Real()), top - 1);
    if (kind == "tiny") return std::ldexp(sign() * (1 + random.Real()), 3 - top);
    if (kind == "mixed") {
      return std::ldexp(sign() * (1 + random.Real()), static_cast<int>(random.Int(1 - top, top)));
    }
    if (kind == "subnormal") return sign() * format.smallest() * random.Int(0, 9);
    if (kind == "spots" && random.In(std::max<int64_t>(2, count / 3))) {
      const double odd[] = {NAN, HUGE_VAL, -HUGE_VAL};
      return random.Of(odd);
    }
    return ordinary;
  };
  std::vector<char> data(count * SizeOf(type));
  if (kind == "bits") {
    for (char& byte : data) byte = static_cast<char>(random.Next());
  } else {
    for (int64_t i = 0; i < count; ++i) frn_test::Store(type, data.data(), i, draw());
  }
  return data;
}

FuzzCase PlainCase(const std::string& target, ElementType type, const Dims& x, const Dims& axes,
                   bool residual) {
  Random random(1);
  FuzzCase test;
  test.residual = residual;
  test.target = target;
  test.node.axes = axes;
  test.node.epsilon = 1e-3f;
  test.node.inputs.resize(InputsOf(residual) - 1);
  for (size_t i = 0; i < test.node.inputs.size(); ++i) {
    Input& input = test.node.inputs[i];
    input.dims = RoleOf(residual, i) < kGamma ? x : ParamShape(x, axes);
    input.known = {type, input.dims, std::vector<std::string>(input.dims.size())};
    test.data.push_back(
        MakeValues(random, type, std::max<int64_t>(0, CountOf(input.dims)), "ordinary"));
  }
  test.offsets.assign(test.node.inputs.size() + 1, 0);
  return test;
}

FuzzCase MakeCase(uint64_t seed, uint64_t index, const std::vector<std::string>& targets) {
  Random random(seed * 0x10001 + index);
  random.Next();
  const int64_t spatial = random.In(3) ? random.Int(1, 3) : 2;
  const Dims axes = DrawAxes(random, spatial);
  const Dims x = DrawShape(random, spatial + 2);
  const ElementType type = random.Of(kElements);
  FuzzCase test;
  test.target = targets[random.Int(0, static_cast<int64_t>(targets.size()) - 1)];
  test.node.axes = axes;
  if (!random.In(4)) test.node.epsilon = static_cast<float>(std::pow(10.0, random.Int(-40, 2)));
  test.residual = random.In(3);
  test.node.inputs.resize(random.Int(RequiredOf(test.residual), InputsOf(test.residual)));
  const bool constant = random.In(2);
  for (size_t i = 0; i < test.node.inputs.size(); ++i) {
    Input& input = test.node.inputs[i];
    const Role role = RoleOf(test.residual, i);
    const bool param = role >= kGamma;
    input.dims = param ? ParamShape(x, axes) : x;
    const bool wide = role == kEpsilon || (param && random.In(2));
    input.known = {wide ? kFloat : type, input.dims, {}};
    Forget(random, &input.known);
    input.constant = param && (random.In(8) ? !constant : constant);
    if (role == kTau) input.present = !random.In(4);
  }
  while (random.In(3)) Spoil(random, &test);

  for (Input& input : test.node.inputs) {
    const size_t i = test.data.size();
    const int64_t count = CountOf(input.dims);
    // A tensor that cannot be has no bytes: it must be refused before they are asked for.
    const ElementType of = FormatOf(input.known.type).significand == 8 ? kBrain : input.known.type;
    const bool has = count > 0 && count <= kMostElements && input.present;
    if (count != 0 && !has) input.constant = false;  // whose bytes are read when a node is made
    std::string kind = random.In(i == 0 ? 2 : 4) ? random.Of(kValueKinds) : "ordinary";
    std::vector<char> values = MakeValues(random, of, has ? count : 0, kind);
    if (RoleOf(test.residual, i) == kEpsilon && of == kFloat &&
        !random.In(6)) {  // not negative, mostly
      for (int64_t k = 0; k < (has ? count : 0); ++k) {
        frn_test::Store(of, values.data(), k, std::fabs(Load(of, values.data(), k)));
      }
    }
    test.data.push_back(std::move(values));
  }
  for (size_t i = 0; i <= test.node.inputs.size(); ++i) {
    test.offsets.push_back(random.In(3) ? random.Int(1, 63) : 0);
  }
  test.at_end = !random.In(3);
  test.order = random.In(8) ? fake_ort::Order::kThreads : fake_ort::Order::kBackwards;
  if (random.In(8)) {
    test.fault = random.In(2) ? Fault::kCall : Fault::kMemory;
    test.fault_at = static_cast<int>(random.Int(1, 40));
  }
  return test;
}

}  // namespace frn_test
