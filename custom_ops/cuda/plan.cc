#include "cuda/plan.h"

#include <algorithm>

#include "cuda/integers.h"

namespace frn::cuda {
namespace {

constexpr int kLeastTileThreads = 64;

// Elements that NchwTile loads at once: planes shorter than a pack go one element at a time.
int TileSize(const Problem& problem) {
  const int pack = PackElements(problem.type);
  return problem.shape.inner < pack ? 1 : pack;
}

// The bytes of `floats` floats, so that packs may follow.
int FloatBytes(int64_t floats) {
  return static_cast<int>(RoundUp(floats * static_cast<int64_t>(sizeof(float)), kPackBytes));
}

}  // namespace

const char* KernelName(Kernel kernel) {
  switch (kernel) {
    case Kernel::kNchwTile:
      return "nchw_tile";
    case Kernel::kNchwTileScalar:
      return "nchw_tile_scalar";
    case Kernel::kNchwPlane:
      return "nchw_plane";
    case Kernel::kNhwc:
      return "nhwc";
    case Kernel::kNhwcScalar:
      return "nhwc_scalar";
    case Kernel::kStrided:
      return "strided";
  }
  return "unknown";
}

FrnShape Canonical(FrnShape shape) {
  if (shape.channels == 1) {
    shape.inner *= shape.outer;
    shape.outer = 1;
  }
  return shape;
}

int PackElements(ElementType type) { return kPackBytes / ElementSize(type); }

int64_t NchwTileMostPlanes(const Problem& problem) {
  return int64_t{kTileThreads} * kTilePacks * TileSize(problem) / problem.shape.inner;
}

Plan NchwTilePlan(const Problem& problem, int planes) {
  const FrnShape& shape = problem.shape;
  const int size = TileSize(problem);
  const int64_t packs = planes * shape.inner / size;
  Plan plan{size == 1 ? Kernel::kNchwTileScalar : Kernel::kNchwTile};
  plan.blocks = CeilDiv(shape.batch * shape.channels, planes);
  plan.threads = static_cast<int>(std::clamp<int64_t>(RoundUp(CeilDiv(packs, kTilePacks), kWarp),
                                                      kLeastTileThreads, kTileThreads));
  plan.cut.tile_planes = planes;
  // One round over the planes where there are threads enough, none without a sum to add.
  const int64_t most_lanes = std::min<int64_t>(kWarp, PowerOfTwoAtLeast(shape.inner / size + 1));
  plan.cut.lanes = 1;
  while (plan.cut.lanes < most_lanes && plan.cut.lanes * 2 * planes <= plan.threads) {
    plan.cut.lanes *= 2;
  }
  // Two sums of a pack for each border between planes, else one; the squares of the elements that
  // are in no pack. A map of a pack's bytes for each plane and one more.
  plan.cut.stage_offset = FloatBytes(packs + planes + 2 * size);
  plan.smem_bytes = plan.cut.stage_offset + int64_t{kPackBytes} * (planes + 1);
  return plan;
}

int64_t NchwPlaneShare(const Problem& problem, int cluster) {
  return CeilDiv(problem.shape.inner / PackElements(problem.type), cluster);
}

Plan NchwPlanePlan(const Problem& problem, int cluster, int threads, int64_t rounds) {
  Plan plan{Kernel::kNchwPlane, problem.shape.batch * problem.shape.channels * cluster, threads};
  plan.cut.cluster = cluster;
  plan.cut.stage = static_cast<int>(rounds * threads);
  plan.cut.stage_offset = FloatBytes(threads / kWarp + cluster);  // a sum per warp, and per block
  plan.smem_bytes =
      plan.cut.stage_offset +
      kPackBytes * std::min<int64_t>(plan.cut.stage, NchwPlaneShare(problem, cluster));
  return plan;
}

bool NhwcIsWide(const Problem& problem) {
  return problem.aligned && problem.shape.channels % PackElements(problem.type) == 0;
}

Plan NhwcPlan(const Problem& problem, int columns, int cluster, int threads, int64_t stage) {
  const bool wide = NhwcIsWide(problem);
  const int size = wide ? PackElements(problem.type) : 1;
  const int strip = columns * size;
  const int64_t strips = CeilDiv(problem.shape.channels, strip);
  Plan plan{wide ? Kernel::kNhwc : Kernel::kNhwcScalar, problem.shape.batch * strips * cluster,
            threads};
  plan.cut.cluster = cluster;
  plan.cut.strip_columns = columns;
  plan.cut.strips = FastDivisor::Of(strips);
  plan.cut.stage = static_cast<int>(stage);
  // Per channel: a map of three floats, a sum per warp, and per block of the cluster.
  plan.cut.stage_offset = FloatBytes(int64_t{3 + threads / kWarp + cluster} * strip);
  plan.smem_bytes = plan.cut.stage_offset + stage * threads * size * ElementSize(problem.type);
  return plan;
}

Plan StridedPlan(const Problem& problem, int threads) {
  Plan plan{Kernel::kStrided, problem.shape.batch * problem.shape.channels, threads};
  plan.smem_bytes = FloatBytes(threads / kWarp);
  return plan;
}

}  // namespace frn::cuda
