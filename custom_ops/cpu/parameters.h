// gamma, beta, tau and epsilon, as callers have them and as the kernels want them.

#ifndef FRN_ONNX_CPU_PARAMETERS_H_
#define FRN_ONNX_CPU_PARAMETERS_H_

#include <cstdint>
#include <memory>

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
  Parameters(const FrnParams<A>& params, int64_t channels, int64_t repeats);

  const A* gamma() const { return values_.get(); }
  const A* epsilon() const { return gamma() + channels_; }
  const A* shift() const { return epsilon() + channels_; }
  const A* tau() const { return shift() + repeats_ * channels_; }  // -inf: no threshold

 private:
  int64_t channels_;
  int64_t repeats_;
  std::unique_ptr<A[]> values_;
};

}  // namespace frn

#endif  // FRN_ONNX_CPU_PARAMETERS_H_
