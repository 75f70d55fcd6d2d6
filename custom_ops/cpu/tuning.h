// The sizes at which one way of computing becomes faster than another: measured, and the same on
// every machine. Those that decide in which order squares are added (kOwnBytes to kMaxSlices)
// must stay so: results have the same bits wherever the instruction set is the same.

#ifndef FRN_ONNX_CPU_TUNING_H_
#define FRN_ONNX_CPU_TUNING_H_

#include <cstdint>

namespace frn {

inline constexpr int64_t kCacheBytes = 640 << 10;      // of x that a thread's slices may take
inline constexpr int64_t kOwnBytes = 2 * kCacheBytes;  // of a plane or sample that one task takes
inline constexpr int64_t kTaskBytes = 64 << 10;        // the least worth handing to a thread
// Rows, and adjacent elements, that are summed in one chain of doubles.
inline constexpr int64_t kRunRows = 1024;
inline constexpr int64_t kRunElements = 64 << 10;

inline constexpr int64_t kFewTasks = 8;     // that are too few: each is shared
inline constexpr int64_t kMaxSlices = 256;  // of a plane or sample that is shared

inline constexpr int64_t kGroupBytes = 8 << 20;  // of x that all threads work on at once
// Of x: small planes that are summed and normalised in L1; half of that where x comes from memory.
inline constexpr int64_t kBatchBytes = 24 << 10;
inline constexpr int64_t kLargeBatchBytes = kBatchBytes / 2;
inline constexpr int64_t kMaxBatch = 64;  // planes of a batch
inline constexpr int64_t kMerged = 256;   // channels: of several samples as of one
// Elements of a few rows: no sums of their own. Pixels that make narrow rows have less to lose.
inline constexpr int64_t kSmallSample = 3072;
inline constexpr int64_t kSmallNarrowSample = 1024;
inline constexpr int64_t kSmallNarrowRows = 32;
inline constexpr int64_t kChunkBytes = 16 << 10;  // normalised at once, the last chunk first
inline constexpr int64_t kStripBytes = 512;       // a strip's narrowest row
inline constexpr int64_t kFewestStrips = 4;       // of one sample, where that may be cut
inline constexpr int64_t kFoldedColumns = 256;    // about how wide folded rows get
inline constexpr int64_t kFoldedRows = 16;        // left, where rows are wider than they must be

}  // namespace frn

#endif  // FRN_ONNX_CPU_TUNING_H_
