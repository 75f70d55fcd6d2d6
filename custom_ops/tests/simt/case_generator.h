// Random cases: shapes about the kernels' widths, and plans the planner would choose or might.

#ifndef FRN_ONNX_TESTS_SIMT_CASE_GENERATOR_H_
#define FRN_ONNX_TESTS_SIMT_CASE_GENERATOR_H_

#include <random>

#include "tests/simt/frn_case.h"

namespace frn::cuda {

class CaseGenerator {
 public:
  explicit CaseGenerator(uint64_t seed) : random_(seed) {}

  // A case of one kernel, cut at random within what plan.h allows. About `elements` elements.
  FrnCase RandomCut(Kernel kernel, int64_t elements);
  // A case as a device of a random profile would run it; any candidate, not only the best.
  FrnCase Planned(int64_t elements);
  // A case without a plan: for shapes given by hand.
  FrnCase RandomTensors(const FrnShape& shape);

  int64_t Between(int64_t least, int64_t most);

 private:
  bool Chance(int percent) { return Between(1, 100) <= percent; }
  template <class V>
  V OneOf(std::initializer_list<V> values);
  // Lengths about multiples of packs, warps and blocks.
  int64_t Length(int64_t most);
  FrnShape Shape(Kernel kernel, int64_t elements);
  int PowerOfTwo(int most);

  std::mt19937_64 random_;
};

}  // namespace frn::cuda

#endif  // FRN_ONNX_TESTS_SIMT_CASE_GENERATOR_H_
