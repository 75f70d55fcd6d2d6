#include "blocked_node.h"

namespace frn {
namespace {

// An attribute that must be there.
int64_t ReadInt(const OrtApi& api, const OrtKernelInfo& info, const char* name) {
  int64_t value = 0;
  OrtStatus* status = api.KernelInfoGetAttribute_int64(&info, name, &value);
  if (status == nullptr) return value;
  api.ReleaseStatus(status);
  throw FrnError(std::string("FRN: the attribute ") + name +
                 " (int) is missing. Nodes of the domain " + kInternalDomain +
                 " are made when a session is; none is to be written by hand.");
}

void CheckBlock(int64_t block) {
  if (IsBlock(block)) return;
  throw FrnError("FRN: the attribute block must be 8 or 16, received " + std::to_string(block) +
                 ". It is the block of this machine's ONNX Runtime.");
}

// Which of X and Y is blocked, by attributes of which exactly one is 1.
void ReadLayouts(const OrtApi& api, const OrtKernelInfo& info, BlockedNode* node) {
  const int64_t from = ReadInt(api, info, "from_blocked"), to = ReadInt(api, info, "to_blocked");
  if ((from != 0 && from != 1) || (to != 0 && to != 1) || from == to) {
    throw FrnError("FRN: exactly one of from_blocked and to_blocked must be 1, the other 0; " +
                   std::string("received ") + std::to_string(from) + " and " + std::to_string(to) +
                   ". Where neither layout changes, the op is BlockedFrn.");
  }
  node->x_is_blocked = from == 1;
  node->y_is_blocked = to == 1;
  node->channels = ReadInt(api, info, "channels");
}

int64_t RoundUp(int64_t channels, int64_t block) { return CeilDiv(channels, block) * block; }

// (C,) or (C, 1, 1), of C = channels; -1 takes any.
void CheckBlockedParam(const char* name, int64_t channels, const Dims& dims) {
  const bool like = dims.size() == 1 || (dims.size() == 3 && dims[1] == 1 && dims[2] == 1);
  if (like && (channels < 0 || dims[0] == channels)) return;
  throw FrnError(std::string("FRN: ") + name + " must have shape " + ToString({channels}) + " or " +
                 ToString({channels, 1, 1}) + ", received " + ToString(dims) + ".");
}

void CheckDims(const char* name, const Dims& dims, const Dims& expected) {
  bool fits = dims.size() == expected.size();
  for (size_t i = 0; fits && i < dims.size(); ++i) {
    fits = expected[i] < 0 || dims[i] == expected[i];
  }
  if (fits) return;
  throw FrnError(std::string("FRN: ") + name + " must have shape " + ToString(expected) +
                 ", received " + ToString(dims) +
                 ". The channels of a blocked tensor are rounded up to whole blocks.");
}

}  // namespace

BlockedNode BlockedNode::Read(const OrtApi& api, const OrtKernelInfo& info, const OpType& op) {
  return NamingNode(api, info, [&] {
    BlockedNode node;
    node.op = &op;
    node.block = ReadInt(api, info, "block");
    CheckBlock(node.block);
    node.epsilon = ReadEpsilon(api, info);
    if (&op == &kReorderingFrnOp) ReadLayouts(api, info, &node);
    ReadInputs(api, info, &node);
    if (node.constants[kGamma].value != nullptr) {
      CheckBlockedParam(kRoleNames[kGamma], node.channels, node.constants[kGamma].dims);
      node.channels = node.constants[kGamma].dims[0];
    }
    for (Role role : kParameterRoles) {
      const FrnConstant& constant = node.constants[role];
      if (constant.value == nullptr) continue;
      CheckBlockedParam(kRoleNames[role], node.channels, constant.dims);
    }
    return node;
  });
}

BlockedTensors ReadBlockedTensors(const OrtApi& api, const BlockedNode& node, int64_t channels,
                                  OrtKernelContext* context) {
  const int64_t rounded = RoundUp(channels, node.block);
  const OrtValue* x = InputOf(api, node, kX, context);
  Dims dims = DimsOf(api, x);
  CheckDims(kRoleNames[kX], dims, {-1, node.x_is_blocked ? rounded : channels, -1, -1});
  dims[1] = rounded;
  const FrnShape whole = MakeShape(FrnLayout{4, 1}, dims);
  BlockedTensors tensors;
  tensors.shape = {whole.batch, channels, whole.inner, node.block};
  tensors.x = static_cast<const float*>(DataOf(api, x));
  tensors.width = dims[3];
  if (node.op == &kInterleavingFrnOp) {
    tensors.phases[0] = tensors.x;
    size_t i = 1;
    for (Role role : {kX01, kX10, kX11}) {
      const OrtValue* phase = InputOf(api, node, role, context);
      CheckDims(kRoleNames[role], DimsOf(api, phase), dims);
      tensors.phases[i++] = static_cast<const float*>(DataOf(api, phase));
    }
    dims[2] *= 2;
    dims[3] *= 2;
  }
  dims[1] = node.y_is_blocked ? rounded : channels;
  if (node.Has(kResidual)) {
    const OrtValue* residual = InputOf(api, node, kResidual, context);
    CheckDims(kRoleNames[kResidual], DimsOf(api, residual), dims);
    tensors.residual = static_cast<const float*>(DataOf(api, residual));
  }
  tensors.y = static_cast<float*>(MakeOutput(api, dims, context));
  return tensors;
}

FrnParams<float> ReadBlockedParams(const OrtApi& api, const BlockedNode& node,
                                   const OrtKernelContext* context, int64_t* channels) {
  *channels = node.channels;
  FrnParams<float> params;
  params.epsilon_scalar = node.epsilon;
  const float** const slots[] = {&params.gamma, &params.beta, &params.tau, &params.epsilon};
  for (Role role : kParameterRoles) {
    if (!node.Has(role)) continue;
    const OrtValue* value = node.constants[role].value;
    if (value == nullptr) {
      value = InputOf(api, node, role, context);
      const Dims dims = DimsOf(api, value);
      CheckBlockedParam(kRoleNames[role], *channels, dims);
      *channels = dims[0];
    }
    *slots[role - kGamma] = static_cast<const float*>(DataOf(api, value));
  }
  return params;
}

}  // namespace frn
