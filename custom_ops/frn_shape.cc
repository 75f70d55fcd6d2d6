#include "frn_shape.h"

#include <algorithm>
#include <cmath>

namespace frn {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 59;  // whose bytes are an int64_t, with room to add

}  // namespace

std::string ToString(const Dims& dims) {
  std::string text = "(";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ", ";
    text += dims[i] < 0 ? "?" : std::to_string(dims[i]);
  }
  return text + (dims.size() == 1 ? ",)" : ")");
}

FrnLayout ParseAxes(const Dims& axes) {
  const int64_t spatial = static_cast<int64_t>(axes.size());
  const int64_t rank = spatial + 2;
  std::vector<bool> seen(axes.size() + 2, false);
  bool valid = spatial >= 1 && spatial <= 3;
  for (int64_t axis : axes) {
    if (axis < 0) axis += rank;
    if (!valid || axis < 1 || axis >= rank || seen[axis]) {
      valid = false;
      break;
    }
    seen[axis] = true;
  }
  if (!valid) {
    throw FrnError(
        "FRN: axes must name 1 to 3 distinct spatial axes within 1..len(axes)+1, leaving one "
        "channel axis beside the batch axis 0; received axes=" +
        ToString(axes) + ". Use for example axes=[2, 3] for NCHW and axes=[1, 2] for NHWC.");
  }
  const auto channel = std::find(seen.begin() + 1, seen.end(), false);
  return {rank, channel - seen.begin()};
}

void CheckEpsilon(double epsilon) {
  if (std::isfinite(epsilon) && epsilon >= 0) return;
  throw FrnError("FRN: epsilon must be finite and not negative, received " +
                 std::to_string(epsilon) +
                 ". Store its absolute value, with a learned epsilon folded in.");
}

void CheckRank(const FrnLayout& layout, const Dims& x) {
  if (static_cast<int64_t>(x.size()) == layout.rank) return;
  throw FrnError("FRN: X must have rank " + std::to_string(layout.rank) +
                 " (batch, channel and one dimension for each of the " +
                 std::to_string(layout.rank - 2) + " axes), received shape " + ToString(x) +
                 ". Give axes one entry for each spatial dimension of X.");
}

FrnShape MakeShape(const FrnLayout& layout, const Dims& x) {
  CheckRank(layout, x);
  // Without elements other sizes may be anything, and their product beyond int64_t.
  if (std::find(x.begin(), x.end(), 0) != x.end()) return {0, 0, x[layout.channel_axis], 0};
  int64_t left = kMostElements;
  for (int64_t dim : x) left /= dim;
  if (left == 0) {
    throw FrnError("FRN: X must have at most 2^59 elements, received shape " + ToString(x) +
                   ". No memory holds it: look for the node before that computes this shape.");
  }
  FrnShape shape{x[0], 1, x[layout.channel_axis], 1};
  for (int64_t axis = 1; axis < layout.rank; ++axis) {
    if (axis < layout.channel_axis) shape.outer *= x[axis];
    if (axis > layout.channel_axis) shape.inner *= x[axis];
  }
  return shape;
}

void CheckParamShape(const FrnLayout& layout, const Dims& x, const char* name, const Dims& param) {
  const int64_t channels = x[layout.channel_axis];
  Dims expected(layout.rank - layout.channel_axis, 1);
  expected[0] = channels;
  bool fits = param.size() == expected.size();
  for (size_t i = 0; fits && i < param.size(); ++i) {
    fits = param[i] == expected[i] || param[i] < 0 || expected[i] < 0;
  }
  if (fits) return;
  throw FrnError(std::string("FRN: ") + name + " must have shape " + ToString(expected) +
                 ": one value for each of the " + (channels < 0 ? "?" : std::to_string(channels)) +
                 " channels of X, and a 1 for each axis behind; received " + ToString(param) +
                 ". Channels are read from axis " + std::to_string(layout.channel_axis) +
                 " of X, which has shape " + ToString(x) +
                 "; state another layout with the attribute axes.");
}

void CheckResidualShape(const Dims& x, const Dims& residual) {
  bool fits = x.size() == residual.size();
  for (size_t i = 0; fits && i < x.size(); ++i) {
    fits = x[i] == residual[i] || x[i] < 0 || residual[i] < 0;
  }
  if (fits) return;
  throw FrnError("FRN: residual must have the shape of X, " + ToString(x) + ", received " +
                 ToString(residual) +
                 ". It is added element by element: insert an Expand before the node, or leave the "
                 "sum to an Add behind a node without residual.");
}

}  // namespace frn
