// What the CUDA part was built with.

#ifndef FRN_ONNX_CUDA_CUDA_INFO_H_
#define FRN_ONNX_CUDA_CUDA_INFO_H_

#include <string>
#include <vector>

namespace frn {

// "13.0"
std::string CudaToolkitVersion();
// "75-real", ..., "90-virtual": machine code (real) and PTX (virtual).
std::vector<std::string> CudaArchitectures();

}  // namespace frn

#endif  // FRN_ONNX_CUDA_CUDA_INFO_H_
