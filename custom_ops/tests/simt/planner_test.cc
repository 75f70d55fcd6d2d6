// The planner: what every plan must keep, on every device, and what it must achieve on some.

#include "cuda/planner.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <set>
#include <string>

#include "cuda/integers.h"
#include "tests/simt/profiles.h"

namespace frn::cuda {
namespace {

int failures = 0;

std::string Name(const Problem& p) {
  const char* types[] = {"f32", "f16", "bf16"};
  return std::string(types[static_cast<int>(p.type)]) + " (" + std::to_string(p.shape.batch) +
         ", " + std::to_string(p.shape.outer) + ", " + std::to_string(p.shape.channels) + ", " +
         std::to_string(p.shape.inner) + ")";
}

void Expect(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

// What the kernels take for granted, and what a launch demands.
void CheckPlan(const Problem& given, const Plan& plan, const NamedProfile& profile) {
  const Problem p{Canonical(given.shape), given.type, given.aligned, given.residual};
  const DeviceProfile& device = profile.device;
  const Cut& cut = plan.cut;
  const std::string at = Name(p) + " on " + profile.name + ": ";
  const auto power_of_two = [](int v) { return v > 0 && (v & (v - 1)) == 0; };

  Expect(plan.blocks > 0 && plan.blocks < int64_t{1} << 31, at + "blocks");
  Expect(plan.threads % kWarp == 0 && plan.threads >= kWarp, at + "threads");
  Expect(plan.smem_bytes <= device.smem_per_block, at + "shared memory");
  Expect(cut.stage_offset % kPackBytes == 0, at + "stage offset");
  Expect(cut.cluster <= device.largest_cluster, at + "cluster");
  Expect(plan.blocks % cut.cluster == 0, at + "blocks of a cluster");
  switch (plan.kernel) {
    case Kernel::kNchwTile:
    case Kernel::kNchwTileScalar:
      Expect((plan.kernel == Kernel::kNchwTile) == (p.shape.inner >= PackElements(p.type)),
             at + "a pack has one border at most");
      Expect(cut.tile_planes * p.shape.inner <=
                 int64_t{plan.threads} * kTilePacks *
                     (plan.kernel == Kernel::kNchwTile ? PackElements(p.type) : 1),
             at + "registers");
      Expect(plan.threads <= 128 && power_of_two(cut.lanes) && cut.lanes <= kWarp, at + "tile");
      Expect(plan.blocks * cut.tile_planes >= p.shape.batch * p.shape.channels, at + "planes");
      Expect(cut.tile_planes * p.shape.inner % PackElements(p.type) == 0, at + "lines");
      Expect(plan.smem_bytes <= 48 << 10, at + "a tile needs no more than the default");
      break;
    case Kernel::kNchwPlane:
      Expect(plan.threads <= 1024 && cut.stage % plan.threads == 0, at + "plane");
      break;
    case Kernel::kNhwc:
      Expect(given.aligned && p.shape.channels % PackElements(p.type) == 0, at + "alignment");
      [[fallthrough]];
    case Kernel::kNhwcScalar: {
      const int size = plan.kernel == Kernel::kNhwc ? PackElements(p.type) : 1;
      const int64_t strip = int64_t{cut.strip_columns} * size;
      Expect(power_of_two(cut.strip_columns) && cut.strip_columns <= kWarp, at + "columns");
      Expect(plan.threads <= 512 && strip <= plan.threads, at + "strip");
      Expect(plan.blocks == p.shape.batch * CeilDiv(p.shape.channels, strip) * cut.cluster,
             at + "strips");
      break;
    }
    case Kernel::kStrided:
      Expect(plan.threads <= 256, at + "strided");
      break;
  }
}

void TestEveryPlanHolds() {
  std::set<Kernel> seen;
  for (const NamedProfile& profile : kProfiles) {
    for (const ElementType type : {ElementType::kFloat, ElementType::kF16, ElementType::kBF16}) {
      for (const int64_t plane : {1, 3, 49, 196, 511, 784, 1025, 3136, 12544, 50176, 262144}) {
        for (const int64_t channels : {1, 3, 8, 20, 64, 256, 2048}) {
          for (const int64_t batch : {1, 8, 64}) {
            const FrnShape shapes[] = {{batch, 1, channels, plane},
                                       {batch, plane, channels, 1},
                                       {batch, plane, channels, 3}};
            for (const FrnShape& shape : shapes) {
              const Problem problem{shape, type, plane % 2 == 0};
              for (const Candidate& candidate : Candidates(problem, profile.device)) {
                CheckPlan(problem, candidate.plan, profile);
                seen.insert(candidate.plan.kernel);
              }
              Expect(MakePlan(problem, profile.device).has_value(), Name(problem) + ": no plan");
            }
          }
        }
      }
    }
  }
  Expect(seen.size() == std::size(kKernels), "not all kernels were planned");
}

void TestKernelOfLayout() {
  const DeviceProfile device = ProfileOf("A100");
  const auto kernel = [&](FrnShape shape, ElementType type, bool aligned) {
    return MakePlan({shape, type, aligned}, device)->kernel;
  };
  const auto f16 = ElementType::kF16;
  Expect(kernel({8, 1, 64, 255}, f16, true) == Kernel::kNchwTile,
         "planes under 768 bytes are tiled");
  Expect(kernel({8, 1, 64, 1025}, f16, true) == Kernel::kNchwPlane, "those above 2 KB are not");
  Expect(kernel({8, 1, 64, 3136}, f16, false) == Kernel::kNchwPlane, "at any alignment");
  Expect(kernel({8, 3136, 64, 1}, f16, true) == Kernel::kNhwc, "wide");
  Expect(kernel({8, 3136, 64, 1}, f16, false) == Kernel::kNhwcScalar, "misaligned");
  Expect(kernel({8, 3136, 60, 1}, f16, true) == Kernel::kNhwcScalar, "60 channels of 2 bytes");
  Expect(kernel({8, 3136, 60, 1}, ElementType::kFloat, true) == Kernel::kNhwc, "and of 4");
  Expect(kernel({8, 3136, 1, 1}, f16, true) == Kernel::kNchwPlane, "one channel has no layout");
  Expect(kernel({8, 1, 64, 1}, f16, true) == Kernel::kNchwTileScalar, "nor has one element");
  Expect(kernel({8, 1, 64, 7}, f16, true) == Kernel::kNchwTileScalar, "shorter than a pack");
  Expect(kernel({8, 1, 64, 8}, f16, true) == Kernel::kNchwTile, "as long as a pack");
  Expect(kernel({8, 16, 64, 16}, f16, true) == Kernel::kStrided, "channels in the middle");
}

void TestLimits() {
  const DeviceProfile device = ProfileOf("H100");
  const int64_t limit = int64_t{1} << 30;
  const auto fits = [&](FrnShape shape) {
    return MakePlan({shape, ElementType::kF16, true}, device).has_value();
  };
  Expect(fits({1, 1, 1, limit}), "a plane of 2^30");
  Expect(!fits({1, 1, 1, limit + 1}), "a plane above 2^30");
  Expect(!fits({1, 1, limit + 1, 1}), "channels above 2^30");
  Expect(fits({2 * limit, 1, 8, 4}), "a tile holds many samples");
  Expect(!fits({2 * limit, 4, 8, 1}), "more than 2^31 - 1 blocks");
}

// The passes over device memory of the norms of a ResNet-50, and the worst of them.
struct Passes {
  double mean = 0.0;
  double worst = 0.0;
};
Passes ResNet50(const std::string& device, ElementType type, int64_t image, int64_t batch,
                bool channels_last) {
  struct Layer {
    int64_t channels, stride, count;
  };
  constexpr Layer kLayers[] = {{64, 2, 1},    {64, 4, 6},   {256, 4, 4},  {128, 4, 1},
                               {128, 8, 7},   {512, 8, 5},  {256, 8, 1},  {256, 16, 11},
                               {1024, 16, 7}, {512, 16, 1}, {512, 32, 5}, {2048, 32, 4}};
  const DeviceProfile profile = ProfileOf(device);
  double moved = 0.0, least = 0.0;
  Passes passes;
  for (const Layer& layer : kLayers) {
    const int64_t side = image / layer.stride;
    const FrnShape shape = channels_last ? FrnShape{batch, side * side, layer.channels, 1}
                                         : FrnShape{batch, 1, layer.channels, side * side};
    const auto candidates = Candidates({shape, type, true}, profile);
    const auto best = std::min_element(
        candidates.begin(), candidates.end(),
        [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; });
    const double weight = static_cast<double>(layer.count * shape.elements());
    moved += weight * best->passes;
    least += weight;
    passes.worst = std::max(passes.worst, best->passes);
  }
  passes.mean = moved / least;
  return passes;
}

void TestTraffic() {
  const auto expect = [](const std::string& device, ElementType type, int64_t image, int64_t batch,
                         bool channels_last, double most) {
    const double passes = ResNet50(device, type, image, batch, channels_last).mean;
    Expect(passes <= most, device + " " + std::to_string(image) + " px, batch " +
                               std::to_string(batch) + (channels_last ? " NHWC" : " NCHW") + ": " +
                               std::to_string(passes) + " passes, expected at most " +
                               std::to_string(most));
  };
  for (const ElementType type : {ElementType::kFloat, ElementType::kF16}) {
    for (const int64_t batch : {1, 8, 64}) {
      for (const char* device : {"H100", "H200", "B200"}) {
        expect(device, type, 224, batch, false, 2.0);
        expect(device, type, 512, batch, false, 2.0);
        expect(device, type, 224, batch, true, 2.02);
        expect(device, type, 512, batch, true, 2.2);
      }
      for (const char* device : {"A100", "L4"}) {
        expect(device, type, 224, batch, false, 2.0);
        expect(device, type, 512, batch, false, 2.1);
        expect(device, type, 224, batch, true, 2.5);
        expect(device, type, 512, batch, true, 2.8);
      }
      expect("T4", type, 224, batch, false, 2.1);
    }
  }
}

// What an H100 was measured to be fastest with, or within a few percent of it.
void TestMeasured() {
  const DeviceProfile device = ProfileOf("H100");
  const auto plan = [&](FrnShape shape, ElementType type) {
    return *MakePlan({shape, type, true}, device);
  };
  const auto f16 = ElementType::kF16, f32 = ElementType::kFloat;
  // Clusters of blocks with a warp each took up to six times as long.
  Expect(plan({1, 1, 64, 3136}, f16).cut.cluster == 1, "64 planes of 6 KB have a block each");
  Expect(plan({1, 49, 2048, 1}, f16).cut.cluster == 1, "49 pixels are not shared out");
  Expect(plan({64, 1, 64, 16384}, f32).threads >= 128, "planes of 64 KB take more than a warp");
  Expect(plan({8, 1, 64, 65536}, f32).threads >= 128, "nor do planes that a cluster shares");
  Expect(plan({1, 1, 512, 49}, f16).blocks >= 32, "a few small planes go to many SMs");
  Expect(plan({64, 784, 512, 1}, f16).cut.cluster == 1, "what a block can keep is not shared out");
  Expect(plan({64, 12544, 64, 1}, f16).cut.cluster == 16, "what 8 blocks cannot keep, 16 do");
}

void TestParallelism() {
  const DeviceProfile device = ProfileOf("H200");
  const auto blocks = [&](FrnShape shape) {
    return MakePlan({shape, ElementType::kFloat, true}, device)->blocks;
  };
  Expect(blocks({1, 1, 8, 262144}) == 128, "8 large planes: clusters of 16");
  Expect(blocks({1, 1, 512, 49}) >= 24, "100 KB in small planes is not left to a few blocks");
  Expect(blocks({1, 3136, 64, 1}) >= 16, "nor is one sample, channels last");
}

}  // namespace
}  // namespace frn::cuda

int main() {
  using namespace frn::cuda;
  TestEveryPlanHolds();
  TestKernelOfLayout();
  TestLimits();
  TestTraffic();
  TestMeasured();
  TestParallelism();
  std::printf("planner: %d failed\n", failures);
  return failures == 0 ? 0 : 1;
}
