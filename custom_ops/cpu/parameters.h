// gamma, beta, tau and epsilon, as callers have them and as the kernels want them.

#ifndef FRN_ONNX_CPU_PARAMETERS_H_
#define FRN_ONNX_CPU_PARAMETERS_H_

#include <cstdint>
#include <memory>
#include <utility>

namespace frn {

// As a caller has them: one value per channel each, at any address; nullptr as said. A is the
// compute type of the element type.
template <class A>
struct FrnParams {
  const A* gamma = nullptr;
  const A* beta = nullptr;
  const A* tau = nullptr;      // nullptr: no threshold
  const A* epsilon = nullptr;  // nullptr: epsilon_scalar for every channel
  A epsilon_scalar = 0;
};

// As the kernels want them. A copy: what it is made of may go.
//
// NaN is the quiet one without payload, as kernels.h asks for. tau's is put into shift, too: the
// vector units' max(v, tau) is v where tau is NaN.
template <class A>
class Parameters {
 public:
  // repeats: how often shift() and tau() hold the values of all channels, one behind the other.
  // groups: how many times `channels` there are, of which samples take one after the other, and
  // begin anew.
  Parameters(const FrnParams<A>& params, int64_t channels, int64_t repeats, int64_t groups = 1);

  // Of one group, as if there were `times` as many channels.
  Parameters Repeated(int64_t times) const;

  // Of sample n.
  const A* gamma(int64_t n) const {
    return values_.get() + (groups_ == 1 ? 0 : n % groups_ * 2 * (1 + repeats_) * channels_);
  }
  const A* epsilon(int64_t n) const { return gamma(n) + channels_; }
  const A* shift(int64_t n) const { return epsilon(n) + channels_; }
  const A* tau(int64_t n) const { return shift(n) + repeats_ * channels_; }  // -inf: no threshold

 private:
  // Of one group without repeats.
  Parameters(int64_t channels, std::unique_ptr<A[]> values)
      : channels_(channels), repeats_(1), groups_(1), values_(std::move(values)) {}

  // Sets one group's, whose first channel is `first` of all.
  void Set(const FrnParams<A>& params, int64_t first, A* values) const;

  int64_t channels_;
  int64_t repeats_;
  int64_t groups_;
  std::unique_ptr<A[]> values_;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_PARAMETERS_H_
