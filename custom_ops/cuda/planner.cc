#include "cuda/planner.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cuda/integers.h"

namespace frn::cuda {
namespace {

constexpr int64_t kMaxIndex = int64_t{1} << 30;        // kernels index a plane with ints
constexpr int64_t kMaxTiledPlanes = int64_t{1} << 34;  // times kMaxIndex: see Remainder
constexpr int64_t kMaxBlocks = (int64_t{1} << 31) - 1;
constexpr int kRegistersPerSm = 65536;
constexpr int kRegisters = 64;               // per thread, at most: see __launch_bounds__
constexpr int kReservedSmemPerBlock = 1024;  // what the driver takes for itself

// What is tried.
constexpr int64_t kLargestTiled = 2048;  // bytes of a plane: larger ones get blocks of their own
constexpr int64_t kSmallestAlone = 512;  // smaller ones are tiled; between the two, either
constexpr int64_t kTileBytes[] = {16384, 12288, 8192, 4096, 2048};  // of equals, the first
constexpr int kPlaneThreads[] = {32, 64, 128, 256, 512, 1024};
constexpr int kNhwcThreads[] = {128, 256, 512};
constexpr int kStripBytes[] = {64, 128};  // of less, device memory reads 64 all the same
constexpr int kClusters[] = {1, 2, 4, 8, 16};
constexpr int kBlocksPerSm[] = {1, 2, 3, 4, 6, 8};  // that shared memory is divided among
constexpr int kStridedThreads = 256;

// The weights of the estimate. Guesses: none has been measured on a GPU.
constexpr double kSaturatingPacks = 2560;  // in flight per SM: 40 KB
constexpr double kL2Share = 0.6;           // of L2 that holds what is to be read again
constexpr double kL2PassCost = 0.25;       // a pass over L2, against one over device memory
constexpr double kClusterEfficiency = 0.97;
double BlocksEfficiency(int64_t blocks) {  // several blocks hide each other's barriers
  return blocks == 1 ? 0.82 : blocks == 2 ? 0.91 : 0.94;
}
double SpreadEfficiency(double blocks_per_sm) {  // idle SMs neither sum nor map
  return 0.8 + 0.2 * std::min(1.0, blocks_per_sm);
}
double RunEfficiency(int64_t bytes) {  // of short runs of addresses
  return bytes <= 32 ? 0.75 : bytes <= 64 ? 0.92 : 1.0;
}

// What the estimate asks of a plan beside the plan itself.
struct Work {
  int64_t reread_bytes = 0;  // that a block reads twice
  int64_t run_bytes = 128;   // that a block reads in one piece, at most 128
  double packs = kUnroll;    // that a thread may have in flight, on average
};

double Ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

class Planner {
 public:
  Planner(const Problem& problem, const DeviceProfile& device)
      : problem_(problem),
        device_(device),
        shape_(problem_.shape),
        element_(ElementSize(problem.type)),
        pack_(PackElements(problem.type)) {}

  std::vector<Candidate> Run() {
    if (shape_.channels > kMaxIndex || shape_.plane() > kMaxIndex) return {};
    const int64_t plane_bytes = shape_.inner * element_;
    if (shape_.outer > 1) {
      shape_.inner == 1 ? Nhwc() : Add(StridedPlan(problem_, kStridedThreads), {});
    } else {
      if (plane_bytes <= kLargestTiled) NchwTile();
      if (plane_bytes >= kSmallestAlone || candidates_.empty()) NchwPlane();
    }
    return std::move(candidates_);
  }

 private:
  void NchwTile() {
    const int64_t planes = shape_.batch * shape_.channels;
    if (planes > kMaxTiledPlanes) return;
    // So many planes make whole packs: all tiles then begin alike on a 16-byte line.
    const int64_t group = pack_ / std::gcd<int64_t>(pack_, shape_.inner);
    for (const int64_t bytes : kTileBytes) {
      const int64_t fitting =
          std::min(bytes / (shape_.inner * element_), NchwTileMostPlanes(problem_)) / group * group;
      const int64_t chosen = std::min(std::max(fitting, group), RoundUp(planes, group));
      const Plan plan = NchwTilePlan(problem_, static_cast<int>(chosen));
      Work work;
      work.packs = Ratio(chosen * shape_.inner, pack_ * plan.threads);
      Add(plan, work);
    }
  }

  void NchwPlane() {
    for (const int cluster : kClusters) {
      if (cluster > device_.largest_cluster) break;
      const int64_t share = NchwPlaneShare(problem_, cluster);
      for (const int threads : kPlaneThreads) {
        if (threads > kPlaneThreads[0] && threads >= 2 * share) break;
        ForEachStage(CeilDiv(share, threads), threads * kPackBytes, [&](int64_t rounds) {
          const Plan plan = NchwPlanePlan(problem_, cluster, threads, rounds);
          const int64_t kept = std::min<int64_t>(plan.cut.stage, share);
          Work work;
          work.reread_bytes = (share - kept) * kPackBytes;
          work.packs = Ratio(share, threads);
          Add(plan, work);
        });
      }
    }
  }

  void Nhwc() {
    const int size = NhwcIsWide(problem_) ? pack_ : 1;
    const int64_t all_columns = PowerOfTwoAtLeast(CeilDiv(shape_.channels, size));
    for (const int strip_bytes : kStripBytes) {
      const int columns = static_cast<int>(
          std::min<int64_t>({all_columns, strip_bytes / (size * element_), kWarp}));
      for (const int cluster : kClusters) {
        if (cluster > device_.largest_cluster) break;
        for (const int threads : kNhwcThreads) NhwcStages(size, columns, cluster, threads);
      }
      if (columns == all_columns || columns == kWarp) break;  // no strip is wider
    }
  }

  void NhwcStages(int size, int columns, int cluster, int threads) {
    const int64_t strip = columns * size;
    const int64_t strips = CeilDiv(shape_.channels, strip);
    const int64_t share = CeilDiv(shape_.outer, cluster);
    const int64_t rows = threads / columns;
    if (threads > kNhwcThreads[0] && rows >= 2 * share) return;
    Work work;
    work.run_bytes = strips == 1 ? 128 : strip * element_;  // one strip: whole rows, without gaps
    work.packs = Ratio(share * shape_.channels, strips * pack_ * threads);
    ForEachStage(CeilDiv(share, rows), threads * size * element_, [&](int64_t stage) {
      work.reread_bytes = std::max<int64_t>(0, share - stage * rows) * strip * element_;
      Add(NhwcPlan(problem_, columns, cluster, threads, stage), work);
    });
  }

  // Calls add(rounds) for each way to divide an SM's shared memory among blocks: `rounds`, up to
  // `all`, of `bytes` each are what a block's part of it holds.
  template <class AddPlan>
  void ForEachStage(int64_t all, int64_t bytes, AddPlan&& add) {
    constexpr int64_t kSums = 8192;  // more than any kernel needs beside the stage
    int64_t previous = -1;
    for (const int blocks : kBlocksPerSm) {
      const int64_t part = device_.smem_per_sm / blocks - kReservedSmemPerBlock;
      const int64_t room = std::max<int64_t>(0, std::min(part, device_.smem_per_block) - kSums);
      const int64_t rounds = std::min(all, room / bytes);
      if (rounds != previous) add(rounds);
      previous = rounds;
    }
  }

  // Blocks of a plan that one SM holds at once.
  int64_t Occupancy(const Plan& plan) const {
    return std::min<int64_t>({device_.smem_per_sm / (plan.smem_bytes + kReservedSmemPerBlock),
                              device_.threads_per_sm / plan.threads,
                              kRegistersPerSm / (kRegisters * plan.threads),
                              device_.blocks_per_sm});
  }

  // Keeps a plan that the device can run, with its estimate.
  void Add(const Plan& plan, const Work& work) {
    const int64_t per_sm = Occupancy(plan);
    if (plan.blocks > kMaxBlocks || plan.smem_bytes > device_.smem_per_block || per_sm == 0) {
      return;
    }
    const double bytes = static_cast<double>(shape_.elements()) * element_;
    const double blocks = static_cast<double>(plan.blocks);
    const double slots = static_cast<double>(device_.sms * per_sm);
    const double active = std::min(blocks, slots);

    const double reread = static_cast<double>(work.reread_bytes);
    const bool from_l2 = active * reread <= kL2Share * static_cast<double>(device_.l2_bytes);
    const double again = reread * blocks / bytes;  // passes

    // Bandwidth needs loads in flight, and needs them in the last wave too.
    const double threads = active * plan.threads / device_.sms;
    const double packs = threads * std::min<double>(work.packs, kUnroll);
    const double busy = std::min(1.0, packs / kSaturatingPacks);
    const double waves = blocks / slots;
    const double fill = waves <= 1.0 ? 1.0 : waves / std::ceil(waves);
    const int64_t together = std::min(per_sm, CeilDiv(plan.blocks, device_.sms));
    const double efficiency =
        busy * fill * BlocksEfficiency(together) * SpreadEfficiency(blocks / device_.sms) *
        RunEfficiency(work.run_bytes) * (plan.cut.cluster > 1 ? kClusterEfficiency : 1.0);
    candidates_.push_back({plan, from_l2 ? 2.0 : 2.0 + again,
                           (2.0 + again * (from_l2 ? kL2PassCost : 1.0)) / efficiency});
  }

  const Problem& problem_;
  const DeviceProfile& device_;
  const FrnShape& shape_;
  const int element_;  // bytes
  const int pack_;     // elements
  std::vector<Candidate> candidates_;
};

}  // namespace

std::vector<Candidate> Candidates(const Problem& problem, const DeviceProfile& device) {
  return Planner({Canonical(problem.shape), problem.type, problem.aligned}, device).Run();
}

std::optional<Plan> MakePlan(const Problem& problem, const DeviceProfile& device) {
  const std::vector<Candidate> candidates = Candidates(problem, device);
  const auto best = std::min_element(
      candidates.begin(), candidates.end(),
      [](const Candidate& a, const Candidate& b) { return a.estimate < b.estimate; });
  if (best == candidates.end()) return std::nullopt;
  return best->plan;
}

}  // namespace frn::cuda
