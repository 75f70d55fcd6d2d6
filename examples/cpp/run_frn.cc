// Runs a model with FRN nodes on an input that counts 0, 0.01, 0.02 ..., or on a file of float32,
// and prints what comes out.
//
//   run_frn LIBRARY MODEL.onnx [INPUT]
//
// LIBRARY is libfrn_onnx_ops.so, frn_onnx_ops.dll or libfrn_onnx_ops.dylib: nothing else of
// frn_onnx is needed. The model's first input is float32; open dimensions are 1.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: run_frn LIBRARY MODEL.onnx [INPUT]\n");
    return 2;
  }
  const std::filesystem::path library = argv[1], model = argv[2];  // wide on Windows

  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "run_frn");
  Ort::SessionOptions options;
  options.RegisterCustomOpsLibrary(library.c_str());  // the one line that is FRN's
  Ort::Session session(env, model.c_str(), options);

  Ort::AllocatorWithDefaultOptions allocator;
  const auto x_name = session.GetInputNameAllocated(0, allocator);
  const auto y_name = session.GetOutputNameAllocated(0, allocator);
  std::vector<int64_t> dims = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
  for (int64_t& dim : dims) dim = std::max<int64_t>(dim, 1);
  std::vector<float> x(std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.01f * static_cast<float>(i);
  if (argc == 4) {
    std::ifstream file(std::filesystem::path(argv[3]), std::ios::binary);
    const auto bytes = static_cast<std::streamsize>(x.size() * sizeof(float));
    if (!file.read(reinterpret_cast<char*>(x.data()), bytes)) {
      throw std::runtime_error(std::string(argv[3]) + " does not hold " + std::to_string(bytes) +
                               " bytes");
    }
  }

  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto input =
      Ort::Value::CreateTensor<float>(memory, x.data(), x.size(), dims.data(), dims.size());
  const char* const x_names[] = {x_name.get()};
  const char* const y_names[] = {y_name.get()};
  const auto outputs = session.Run(Ort::RunOptions{nullptr}, x_names, &input, 1, y_names, 1);

  const float* y = outputs[0].GetTensorData<float>();
  const size_t count = outputs[0].GetTensorTypeAndShapeInfo().GetElementCount();
  for (size_t i = 0; i < count; ++i) std::printf("%.9g\n", y[i]);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "run_frn: %s\n", error.what());
  return 1;
}
