// In place of the CPU ops: the emulated ones take every node.

#include "frn_op.h"

namespace frn {

void AppendCpuOps(const OrtRuntime&, std::vector<FrnCustomOp>*) {}
void AppendBlockedOps(const OrtRuntime&, std::vector<FrnCustomOp>*) {}

}  // namespace frn
