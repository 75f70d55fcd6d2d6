#include "tests/simt/case_generator.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "cuda/integers.h"
#include "tests/simt/profiles.h"

namespace frn::cuda {

int64_t CaseGenerator::Between(int64_t least, int64_t most) {
  return std::uniform_int_distribution<int64_t>(least, std::max(least, most))(random_);
}

template <class V>
V CaseGenerator::OneOf(std::initializer_list<V> values) {
  return *(values.begin() + Between(0, static_cast<int64_t>(values.size()) - 1));
}

int CaseGenerator::PowerOfTwo(int most) {
  int exponent = 0;
  while (2 << exponent <= most) ++exponent;
  return 1 << Between(0, exponent);
}

int64_t CaseGenerator::Length(int64_t most) {
  int64_t length = Between(1, most);
  if (Chance(50)) length = Between(1, std::min<int64_t>(most, 40));
  if (Chance(40))
    length = RoundUp(length, OneOf<int64_t>({4, 8, 16, 32, 128, 512})) + Between(-1, 1);
  return std::clamp<int64_t>(length, 1, most);
}

FrnShape CaseGenerator::Shape(Kernel kernel, int64_t elements) {
  FrnShape shape{1, 1, 1, 1};
  switch (kernel) {
    case Kernel::kNchwTile:
    case Kernel::kNchwTileScalar:
      shape.inner = kernel == Kernel::kNchwTile ? 7 + Length(std::min<int64_t>(elements, 1000))
                                                : Between(1, 7);
      shape.channels = Length(std::max<int64_t>(1, elements / shape.inner));
      break;
    case Kernel::kNchwPlane:
      shape.inner = Length(elements);
      shape.channels = Length(std::clamp<int64_t>(elements / shape.inner, 1, 4));
      break;
    case Kernel::kNhwc:
    case Kernel::kNhwcScalar:
      shape.channels = 1 + Length(std::min<int64_t>(elements / 2, 256));
      if (kernel == Kernel::kNhwc) shape.channels = RoundUp(shape.channels, 8);
      shape.outer = 1 + Length(std::max<int64_t>(1, elements / shape.channels));
      break;
    case Kernel::kStrided:
      shape.channels = 1 + Length(12);
      shape.inner = 1 + Length(40);
      shape.outer = 1 + Length(std::max<int64_t>(1, elements / shape.channels / shape.inner));
      break;
  }
  shape.batch = Between(1, std::clamp<int64_t>(elements / shape.elements(), 1, 4));
  return shape;
}

FrnCase CaseGenerator::RandomTensors(const FrnShape& shape) {
  FrnCase test;
  test.shape = shape;
  test.type = OneOf({ElementType::kFloat, ElementType::kF16, ElementType::kBF16});
  const int pack = PackElements(test.type);
  test.in_place = Chance(25);
  if (Chance(50)) test.x_offset = static_cast<int>(Between(0, pack - 1));
  test.y_offset =
      test.in_place || Chance(50) ? test.x_offset : static_cast<int>(Between(0, pack - 1));
  test.has_residual = Chance(35);
  if (test.has_residual && Chance(50)) {
    test.residual_offset = Chance(50) ? test.x_offset : static_cast<int>(Between(0, pack - 1));
  }
  test.over_residual = test.has_residual && !test.in_place && Chance(40);
  test.has_tau = Chance(70);
  test.gamma_is_float = Chance(50);
  test.beta_is_float = Chance(50);
  test.tau_is_float = Chance(50);
  test.epsilon_per_channel = Chance(40);
  test.nan_tau = test.has_tau && Chance(3);
  if (Chance(6)) {
    test.special =
        OneOf({std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
               -std::numeric_limits<float>::infinity()});
  }
  test.schedule.order =
      OneOf({simt::Order::kForward, simt::Order::kReversed, simt::Order::kShuffled});
  test.seed = random_();
  test.schedule.seed = static_cast<uint32_t>(test.seed);
  return test;
}

FrnCase CaseGenerator::RandomCut(Kernel kernel, int64_t elements) {
  FrnCase test = RandomTensors(Shape(kernel, elements));
  if (kernel == Kernel::kNhwc) test.x_offset = test.y_offset = test.residual_offset = 0;
  const Problem problem = test.problem();
  const FrnShape& shape = test.shape;
  switch (kernel) {
    case Kernel::kNchwTile:
    case Kernel::kNchwTileScalar:
      test.plan = NchwTilePlan(
          problem, static_cast<int>(Between(1, std::min(shape.batch * shape.channels + 2,
                                                        NchwTileMostPlanes(problem)))));
      test.plan.threads = kWarp * static_cast<int>(Between(test.plan.threads / kWarp, 4));
      test.plan.cut.lanes = PowerOfTwo(kWarp);
      break;
    case Kernel::kNchwPlane: {
      const int cluster = Chance(50) ? 1 : PowerOfTwo(kMaxCluster);
      const int threads = kWarp * static_cast<int>(Between(1, Chance(90) ? 4 : 32));
      const int64_t rounds = CeilDiv(NchwPlaneShare(problem, cluster), threads);
      test.plan = NchwPlanePlan(problem, cluster, threads, Between(0, rounds));
      break;
    }
    case Kernel::kNhwc:
    case Kernel::kNhwcScalar: {
      const int cluster = Chance(50) ? 1 : PowerOfTwo(kMaxCluster);
      const int size = NhwcIsWide(problem) ? PackElements(test.type) : 1;
      const int columns = PowerOfTwo(size == 1 ? 32 : 8);
      const int least = std::max(1, columns * size / kWarp);
      const int threads = kWarp * static_cast<int>(Between(least, least + 3));
      const int64_t steps = CeilDiv(CeilDiv(problem.shape.outer, cluster), threads / columns);
      test.plan = NhwcPlan(problem, columns, cluster, threads, Between(0, steps));
      break;
    }
    case Kernel::kStrided:
      test.plan = StridedPlan(problem, kWarp * static_cast<int>(Between(1, 8)));
      break;
  }
  return test;
}

FrnCase CaseGenerator::Planned(int64_t elements) {
  const Kernel kernel = kKernels[Between(0, std::size(kKernels) - 1)];
  FrnCase test = RandomTensors(Shape(kernel, elements));
  if (Chance(60)) test.x_offset = test.y_offset = 0;
  const NamedProfile& profile = kProfiles[Between(0, std::size(kProfiles) - 1)];
  const std::vector<Candidate> candidates = Candidates(test.problem(), profile.device);
  test.plan = Chance(50) ? MakePlan(test.problem(), profile.device).value()
                         : candidates.at(Between(0, candidates.size() - 1)).plan;
  return test;
}

}  // namespace frn::cuda
