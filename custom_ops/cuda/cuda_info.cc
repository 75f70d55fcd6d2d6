#include "cuda/cuda_info.h"

#include <sstream>

namespace frn {

std::string CudaToolkitVersion() { return FRN_ONNX_CUDA_TOOLKIT; }

std::vector<std::string> CudaArchitectures() {
  std::vector<std::string> architectures;
  std::istringstream text(FRN_ONNX_CUDA_ARCHITECTURES);
  for (std::string name; std::getline(text, name, ',');) architectures.push_back(name);
  return architectures;
}

}  // namespace frn
