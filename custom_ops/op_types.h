// The op types of the domains frn_onnx and frn_onnx.internal: which inputs each has, and in which
// order. Mirror of frn_onnx/op.py; a test compares the two.

#ifndef FRN_ONNX_OP_TYPES_H_
#define FRN_ONNX_OP_TYPES_H_

#include <array>
#include <cstddef>
#include <new>

namespace frn {

constexpr char kDomain[] = "frn_onnx";
constexpr int kOpVersion = 1;

// What an input is.
enum Role : size_t { kX, kResidual, kGamma, kBeta, kTau, kEpsilon, kX01, kX10, kX11, kRoles };
constexpr std::array<const char*, kRoles> kRoleNames = {
    "X", "residual", "gamma", "beta", "tau", "epsilon", "X01", "X10", "X11"};

// Of one value per channel; the others are as large as Y.
constexpr std::array<Role, 4> kParameterRoles = {kGamma, kBeta, kTau, kEpsilon};

// For OrtCustomOp: over which inputs Y may be written.
template <int... kInputs>
size_t MayInplace(int** input_index, int** output_index) {
  constexpr size_t kCount = sizeof...(kInputs);
  *input_index = new (std::nothrow) int[kCount]{kInputs...};
  *output_index = new (std::nothrow) int[kCount]{};
  return *input_index != nullptr && *output_index != nullptr ? kCount : 0;
}

struct OpType {
  const char* name;
  std::array<Role, kRoles> inputs;  // the first input_count of them
  size_t input_count;
  size_t required;                                               // the first so many must be there
  size_t (*may_inplace)(int** input_index, int** output_index);  // nullptr: over none
};

// Y = max(gamma * X / sqrt(mean(X**2) + epsilon) + beta, tau)
inline constexpr OpType kFrnOp = {"FilterResponseNormalization",
                                  {kX, kGamma, kBeta, kTau, kEpsilon},
                                  /*input_count=*/5,
                                  /*required=*/3,
                                  MayInplace<0>};

// Y = max(gamma * X / sqrt(mean(X**2) + epsilon) + beta + residual, tau)
inline constexpr OpType kResidualFrnOp = {"ResidualFilterResponseNormalization",
                                          {kX, kResidual, kGamma, kBeta, kTau, kEpsilon},
                                          /*input_count=*/6,
                                          /*required=*/4,
                                          MayInplace<0, 1>};

// In nodes that are put into a model when a session of it is made, and in no file: X blocked as
// ONNX Runtime's convolutions have it, in and out, or one of the two as planes.
constexpr char kInternalDomain[] = "frn_onnx.internal";
inline constexpr OpType kBlockedFrnOp = {"BlockedFrn",
                                         {kX, kGamma, kBeta, kTau, kEpsilon, kResidual},
                                         /*input_count=*/6,
                                         /*required=*/3,
                                         MayInplace<0, 5>};
inline constexpr OpType kReorderingFrnOp = {"ReorderingFrn",
                                            {kX, kGamma, kBeta, kTau, kEpsilon, kResidual},
                                            /*input_count=*/6,
                                            /*required=*/3,
                                            /*may_inplace=*/nullptr};

// Y is twice as high and as wide as X; its pixel (2 * h + i, 2 * w + j) is that of (h, w) of Xij.
inline constexpr OpType kInterleavingFrnOp = {"InterleavingFrn",
                                              {kX, kX01, kX10, kX11, kGamma, kBeta, kTau, kEpsilon},
                                              /*input_count=*/8,
                                              /*required=*/6,
                                              /*may_inplace=*/nullptr};

inline constexpr std::array<const OpType*, 2> kOpTypes = {&kFrnOp, &kResidualFrnOp};

}  // namespace frn

#endif  // FRN_ONNX_OP_TYPES_H_
