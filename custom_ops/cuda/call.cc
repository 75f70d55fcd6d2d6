#include "cuda/call.h"

#include <cstdint>

#include "cuda/integers.h"

namespace frn::cuda {
namespace {

const char* NameOf(ElementType type) {
  switch (type) {
    case ElementType::kFloat:
      return "float";
    case ElementType::kF16:
      return "float16";
    case ElementType::kBF16:
      return "bfloat16";
  }
  return "unknown";
}

bool IsMultiple(const void* pointer, int bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace

void SetShape(const FrnShape& shape, KernelParams* params) {
  params->shape = Canonical(shape);
  params->channels = FastDivisor::Of(params->shape.channels);
  params->inner = FastDivisor::Of(params->shape.inner);
  params->inverse_spatial = 1.0f / static_cast<float>(shape.plane());
}

Problem ProblemOf(const KernelParams& params, ElementType type) {
  const int size = ElementSize(type);
  if (!IsMultiple(params.x, size) || !IsMultiple(params.y, size) ||
      !IsMultiple(params.residual, size)) {  // none is at 0, a multiple
    throw FrnError("FRN: X and Y, and residual, must begin at a multiple of their element's " +
                   std::to_string(size) + " bytes. Copy the view that does not.");
  }
  const bool aligned = IsMultiple(params.x, kPackBytes) && IsMultiple(params.y, kPackBytes) &&
                       IsMultiple(params.residual, kPackBytes);
  return {params.shape, type, aligned, params.residual != nullptr};
}

std::string Describe(const FrnShape& shape, ElementType type) {
  return "(batch, outer, channels, inner) = " +
         ToString({shape.batch, shape.outer, shape.channels, shape.inner}) + " of " + NameOf(type);
}

std::string Describe(const Plan& plan) {
  return std::string("kernel ") + KernelName(plan.kernel) + " (" + std::to_string(plan.blocks) +
         " blocks" +
         (plan.cut.cluster > 1 ? " in clusters of " + std::to_string(plan.cut.cluster) : "") +
         ", " + std::to_string(plan.threads) + " threads, " + std::to_string(plan.smem_bytes) +
         " bytes of shared memory)";
}

FrnError TooLarge(const FrnShape& shape, ElementType type) {
  return FrnError("FRN: X " + Describe(shape, type) +
                  " is too large for the CUDA kernels, which take up to 2^30 channels, 2^30 "
                  "elements per channel, and 2^31 - 1 blocks. Split the batch, or run the node on "
                  "the CPU.");
}

}  // namespace frn::cuda
