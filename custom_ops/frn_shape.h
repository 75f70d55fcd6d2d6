// What X, residual, gamma, beta, tau and epsilon must look like: checks shared by the CPU and CUDA
// kernels and by the Python bindings. Mirrors normalize_axes and param_shape of frn_onnx/op.py.

#ifndef FRN_ONNX_FRN_SHAPE_H_
#define FRN_ONNX_FRN_SHAPE_H_

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace frn {

// A mistake of the caller: the message says what, expected, received and cure. Turned into an
// OrtStatus, or a Python ValueError, at the boundary.
class FrnError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

using Dims = std::vector<int64_t>;

// "(8, 64, 56, 56)"; a dimension that is not known yet (-1) prints as "?".
std::string ToString(const Dims& dims);

// The layout that the attribute `axes` states.
struct FrnLayout {
  int64_t rank = 0;          // of X: spatial axes + batch + channel
  int64_t channel_axis = 0;  // the one axis that is neither 0 nor spatial
};

// Throws FrnError if axes repeat, are out of range, or do not leave exactly one channel axis.
FrnLayout ParseAxes(const Dims& axes);

// Throws FrnError for an attribute epsilon that is negative or not finite.
void CheckEpsilon(double epsilon);

// X seen as (batch, outer, channels, inner): the spatial elements of one plane are `outer`
// segments of `inner` adjacent elements. NCHW has outer = 1, NHWC inner = 1.
struct FrnShape {
  int64_t batch = 0;
  int64_t outer = 0;
  int64_t channels = 0;
  int64_t inner = 0;

  int64_t plane() const { return outer * inner; }
  int64_t elements() const { return batch * channels * plane(); }
};

// Throws FrnError if X has another rank than the axes demand.
void CheckRank(const FrnLayout& layout, const Dims& x);

// Throws FrnError if X has another rank than the axes demand, or more elements than memory can
// hold.
FrnShape MakeShape(const FrnLayout& layout, const Dims& x);

// Throws FrnError unless `param` is (C,) followed by a 1 for each axis behind the channel axis.
// A dimension of -1, in `x` or `param`, is not known yet and is not checked.
void CheckParamShape(const FrnLayout& layout, const Dims& x, const char* name, const Dims& param);

// Throws FrnError unless `residual` is the shape of X; a dimension of -1 is not checked.
void CheckResidualShape(const Dims& x, const Dims& residual);

}  // namespace frn

#endif  // FRN_ONNX_FRN_SHAPE_H_
