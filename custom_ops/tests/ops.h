// The ops as RegisterCustomOps gives them to the stand-in of ONNX Runtime.

#ifndef FRN_ONNX_TESTS_OPS_H_
#define FRN_ONNX_TESTS_OPS_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/fake_ort.h"

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base);

namespace frn_test {

// What the inputs of a node are. The op without a residual has all others, in this order.
enum Role : size_t { kX, kResidual, kGamma, kBeta, kTau, kEpsilon, kRoles };
inline Role RoleOf(bool residual, size_t input) {
  return static_cast<Role>(input > 0 && !residual ? input + 1 : input);
}
inline size_t InputsOf(bool residual) { return residual ? kRoles : kRoles - 1; }
inline size_t RequiredOf(bool residual) { return residual ? kTau : kTau - 1; }

// Of a runtime of its own; ends the program if they cannot be registered.
class Ops {
 public:
  Ops();
  ~Ops();
  Ops(const Ops&) = delete;
  Ops& operator=(const Ops&) = delete;

  // The op that takes X of this type, with or without a residual; nullptr if none does.
  const OrtCustomOp* Find(ONNXTensorElementDataType type, bool residual = false) const;

 private:
  OrtSessionOptions* options_;
  std::map<std::pair<std::string, ONNXTensorElementDataType>, const OrtCustomOp*> ops_;
};

// The CPU targets that this build has and this machine supports; sessions made next take `target`.
std::vector<std::string> UsableTargets();
void ForceTarget(const std::string& target);

// Of spatial axes that are valid: the channel axis; -1 for others.
int64_t ChannelAxis(const fake_ort::Dims& axes);
// The number of elements, or -1 where there is no such tensor.
int64_t CountOf(const fake_ort::Dims& dims);

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_OPS_H_
