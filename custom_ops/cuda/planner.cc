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
constexpr int64_t kSmallestAlone = 768;  // smaller ones are tiled; between the two, either
constexpr int64_t kTileBytes[] = {16384, 12288, 8192, 4096, 2048};  // of equals, the first
constexpr int kPlaneThreads[] = {32, 64, 128, 256, 512};
constexpr int kNhwcThreads[] = {128, 256, 512};
constexpr int kStripBytes[] = {32, 64, 128};
constexpr int kClusters[] = {1, 2, 4, 8, 16};
constexpr int kBlocksPerSm[] = {1, 2, 3, 4, 6, 8};  // that shared memory is divided among
constexpr int kStridedThreads = 256;

// The constants of the estimate, fitted to all plans for some 230 tensors on an H100 and an H200
// (benchmarks/gpu/README.md). Microseconds and bytes.
constexpr double kStart = 1.3;             // of a kernel in a graph
constexpr double kThreadStart = 1.5e-3;    // for each thread of a block
constexpr double kTileStart = 0.85;        // for the tiles' second barrier
constexpr double kBlockStart = 0.003;      // for each block of an SM
constexpr double kMemoryShare = 1.22;      // of the rate that the memory's clock allows: the SMs'
                                           // time, which is added, is in part the same time
constexpr double kL2Share = 0.6;           // of L2 that holds what is to be read again
constexpr double kL2PassCost = 0.75;       // a pass over L2, against one over device memory
constexpr double kAlone = 0.08;            // of the memory's time: what a block that is alone on
                                           // its SM cannot load while it stores
constexpr double kShortRun = 0.025;        // of it, too: for runs of 64 bytes and less
constexpr double kHalfRun = 1.05;          // more, for 32 bytes and less
constexpr double kSmRate = 150e3;          // bytes a microsecond that an SM moves
constexpr double kTrip = 0.2;              // for the bytes in flight to come
constexpr double kClusterStart = 0.37;     // for a cluster's two meetings
constexpr double kClusterDoubling = 0.17;  // for each doubling of its size
constexpr double kClusterThread = 1.8e-3;  // for each thread of an SM's blocks in clusters

// What the estimate asks of a plan beside the plan itself.
struct Work {
  int64_t bytes = 0;         // that a block reads
  int64_t reread_bytes = 0;  // of them, twice
  int64_t run_bytes = 128;   // in one piece, at most 128
};

double Double(int64_t a) { return static_cast<double>(a); }

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
      shape_.inner == 1 ? Nhwc() : Strided();
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
      Add(plan, {chosen * shape_.inner * element_, 0});
    }
  }

  void NchwPlane() {
    for (const int cluster : kClusters) {
      if (cluster > device_.largest_cluster) break;
      const int64_t share = NchwPlaneShare(problem_, cluster);
      for (const int threads : kPlaneThreads) {
        if (threads > kPlaneThreads[0] && threads >= 2 * share) break;
        if (cluster > 8 && threads < 128) continue;  // up to a quarter slower than 8 larger blocks
        ForEachStage(CeilDiv(share, threads), threads * kPackBytes, [&](int64_t rounds) {
          const Plan plan = NchwPlanePlan(problem_, cluster, threads, rounds);
          const int64_t kept = std::min<int64_t>(plan.cut.stage, share);
          Add(plan, {share * kPackBytes, (share - kept) * kPackBytes});
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
    const int64_t strip_bytes = std::min<int64_t>(columns * size, shape_.channels) * element_;
    const int64_t share = CeilDiv(shape_.outer, cluster);
    const int64_t rows = threads / columns;
    if (threads > kNhwcThreads[0] && rows >= 2 * share) return;
    const int64_t run_bytes = columns * size < shape_.channels ? strip_bytes : 128;
    ForEachStage(CeilDiv(share, rows), threads * size * element_, [&](int64_t stage) {
      const int64_t reread = std::max<int64_t>(0, share - stage * rows);
      Add(NhwcPlan(problem_, columns, cluster, threads, stage),
          {share * strip_bytes, reread * strip_bytes, run_bytes});
    });
  }

  void Strided() {
    const int64_t bytes = shape_.plane() * element_;
    Add(StridedPlan(problem_, kStridedThreads), {bytes, bytes});
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
    const int registers = plan.cut.tile_planes > 0
                              ? kRegistersPerSm / (kTileThreads * TileBlocks(problem_.residual))
                              : kRegisters;
    return std::min<int64_t>({device_.smem_per_sm / (plan.smem_bytes + kReservedSmemPerBlock),
                              device_.threads_per_sm / plan.threads,
                              kRegistersPerSm / (registers * plan.threads), device_.blocks_per_sm});
  }

  // Keeps a plan that the device can run, with its estimate.
  void Add(const Plan& plan, const Work& work) {
    const int64_t per_sm = Occupancy(plan);
    if (plan.blocks > kMaxBlocks || plan.smem_bytes > device_.smem_per_block || per_sm == 0) {
      return;
    }
    const double bytes = Double(shape_.elements() * element_);
    const double reread = Double(work.reread_bytes * plan.blocks);
    // Clusters stay within parts of the device of 16 SMs or a few more.
    const int64_t sms =
        plan.cut.cluster > 4 ? std::max<int64_t>(16, device_.sms / 16 * 16) : device_.sms;
    const int64_t slots = sms * per_sm;
    const int64_t active = std::min(plan.blocks, slots);
    const bool from_l2 = Double(active * work.reread_bytes) <= kL2Share * Double(device_.l2_bytes);
    const int least = problem_.residual ? 3 : 2;
    const double passes = from_l2 ? least : least + reread / bytes;

    // Device memory's time, and that of the SM with the most blocks.
    const int64_t rounds = CeilDiv(plan.blocks, slots);
    const int64_t together = std::min(per_sm, CeilDiv(plan.blocks, sms));  // blocks of an SM
    const double moved = passes * bytes + (from_l2 ? kL2PassCost * reread : 0.0);
    const double company =
        std::min(Double(per_sm), std::max(1.0, Double(plan.blocks) / Double(sms)));
    const double slowed = kAlone / company + (work.run_bytes <= 64 ? kShortRun : 0.0) +
                          (work.run_bytes <= 32 ? kHalfRun : 0.0);
    const double memory =
        moved * (1.0 + slowed) / (kMemoryShare * 1e3 * Double(device_.gb_per_second));
    const double in_flight =  // of each thread's packs, at most kUnroll
        std::min(Double(together * work.bytes),
                 Double(together * plan.threads) * kUnroll * kPackBytes);
    const double sm = Double(rounds * together * (least * work.bytes + work.reread_bytes)) *
                      (1.0 / kSmRate + kTrip / in_flight);
    const double blocks_of_sm = Double(plan.blocks) / Double(sms);
    double start = kStart + kThreadStart * plan.threads + kBlockStart * blocks_of_sm;
    if (plan.cut.tile_planes > 0) start += kTileStart;
    if (plan.cut.cluster > 1) {
      start += kClusterStart + kClusterDoubling * std::log2(plan.cut.cluster) +
               kClusterThread * plan.threads * blocks_of_sm;
    }
    candidates_.push_back({plan, passes, start + memory + sm});
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
  return Planner({Canonical(problem.shape), problem.type, problem.aligned, problem.residual},
                 device)
      .Run();
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
