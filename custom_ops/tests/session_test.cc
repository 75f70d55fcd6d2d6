// The library in a real ONNX Runtime, through the official C++ API: what a program in C++, C# or
// Java meets. Every case of CASES with its tolerance (tests/session_cases.py writes it), errors,
// paths of any characters, sessions that outlive what made them, and many threads.
//
//   session_test ONNXRUNTIME LIBRARY CASES FOLDER
//
// ONNXRUNTIME and LIBRARY are shared libraries; FOLDER is one of the program's own, in which it
// makes another with a name in several scripts.

#if defined(_WIN32)
#undef _stdcall  // 64-bit Windows has one calling convention, and GCC another word for it
#define _stdcall
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#define FRN_ONNX_ORT_ABI_H_  // the official header above has the types that elements.h wants
#include "tests/byte_reader.h"
#include "tests/reference.h"

namespace {

namespace fs = std::filesystem;
using frn_test::Reference;

constexpr uint32_t kApiVersion = 18;  // of the oldest ONNX Runtime
constexpr int kThreads = 4;
int failures = 0;

void Fail(const std::string& what) {
  std::printf("FAIL %s\n", what.c_str());
  ++failures;
}

class Reader : public ByteReader {
 public:
  using ByteReader::ByteReader;

  std::vector<char> Counted() { return Bytes(Value<uint32_t>()); }
  std::string Text() {
    const std::vector<char> text = Counted();
    return {text.begin(), text.end()};
  }
};

struct Input {
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<int64_t> dims;
  std::vector<char> data;
};

struct Case {
  std::string name;
  std::vector<char> model;
  std::vector<Input> inputs;
  std::string error;  // what ONNX Runtime must say; empty: it must compute
  Reference expected;
};

Case ReadCase(Reader& file) {
  Case read;
  read.name = file.Text();
  read.model = file.Counted();
  read.inputs.resize(file.Value<uint32_t>());
  for (Input& input : read.inputs) {
    input.name = file.Text();
    input.type = static_cast<ONNXTensorElementDataType>(file.Value<uint32_t>());
    input.dims.resize(file.Value<uint32_t>());
    for (int64_t& dim : input.dims) dim = file.Value<int64_t>();
    input.data = file.Counted();
  }
  read.error = file.Text();
  const uint32_t count = file.Value<uint32_t>();
  for (uint32_t i = 0; i < count; ++i) read.expected.y.push_back(file.Value<double>());
  for (uint32_t i = 0; i < count; ++i) read.expected.allowed.push_back(file.Value<float>());
  return read;
}

Ort::SessionOptions Options(const fs::path& library) {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(2);
  options.RegisterCustomOpsLibrary(library.c_str());
  return options;
}

std::vector<char> Run(Ort::Session& session, Case& test) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<const char*> names;
  std::vector<Ort::Value> values;
  for (Input& input : test.inputs) {
    names.push_back(input.name.c_str());
    values.push_back(Ort::Value::CreateTensor(memory, input.data.data(), input.data.size(),
                                              input.dims.data(), input.dims.size(), input.type));
  }
  const char* y = "Y";
  const auto out =
      session.Run(Ort::RunOptions{nullptr}, names.data(), values.data(), values.size(), &y, 1);
  const char* data = static_cast<const char*>(out[0].GetTensorRawData());
  return {data, data + test.inputs[0].data.size()};
}

void CheckCase(const Ort::Env& env, const Ort::SessionOptions& options, Case& test) {
  std::string error;
  try {
    Ort::Session session(env, test.model.data(), test.model.size(), options);
    const std::vector<char> y = Run(session, test);
    error = FindError(test.inputs[0].type, test.expected, y.data());
    if (error.empty() && !test.error.empty()) error = "no error";
  } catch (const Ort::Exception& raised) {
    error = raised.what();
    if (!test.error.empty() && error.find(test.error) != std::string::npos) error.clear();
  }
  if (error.empty()) return;
  Fail(test.name + ": " + error + (test.error.empty() ? "" : "; expected: " + test.error));
}

// The library and a model in a folder with a name that no code page holds.
void CheckPaths(const Ort::Env& env, const fs::path& library, const fs::path& folder, Case& test) {
  const fs::path odd = folder / fs::u8path("\u00dcber uns \u65e5\u672c\u8a9e \u0416");
  fs::create_directories(odd);
  const fs::path copy = odd / library.filename(), model = odd / fs::u8path("\u00e9t\u00e9.onnx");
  fs::remove(copy);  // of an earlier run
  fs::copy_file(library, copy);
  std::ofstream(model, std::ios::binary).write(test.model.data(), test.model.size());
  Ort::Session session(env, model.c_str(), Options(copy));
  const std::string error =
      FindError(test.inputs[0].type, test.expected, Run(session, test).data());
  if (!error.empty()) Fail("paths: " + error);
}

// Options may be registered twice, and released before the session runs; the library stays.
void CheckLifetimes(const Ort::Env& env, const fs::path& library, Case& test) {
  for (int round = 0; round < 3; ++round) {
    auto options = Options(library);
    options.RegisterCustomOpsLibrary(library.c_str());
    Ort::Session first(env, test.model.data(), test.model.size(), options);
    options = Ort::SessionOptions{};
    Ort::Session second(env, test.model.data(), test.model.size(), Options(library));
    if (Run(first, test) != Run(second, test)) Fail("lifetimes: two sessions differ");
  }
#if defined(_WIN32)
  const bool loaded = GetModuleHandleW(library.filename().c_str()) != nullptr;
#else
  const bool loaded = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD) != nullptr;
#endif
  if (!loaded) Fail("lifetimes: the library was unloaded with the last session");
}

void CheckThreads(const Ort::Env& env, const fs::path& library, std::vector<Case>& cases) {
  Case& shared_case = cases.front();
  Ort::Session shared(env, shared_case.model.data(), shared_case.model.size(), Options(library));
  const std::vector<char> expected = Run(shared, shared_case);
  std::atomic<int> different{0};
  const auto work = [&](int thread) {
    for (int round = 0; round < 20; ++round) {
      Case shared_copy = shared_case;
      different += Run(shared, shared_copy) != expected;
      Case own = cases[(thread * 20 + round) % cases.size()];
      if (own.error.empty()) CheckCase(env, Options(library), own);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  if (different > 0) Fail("threads: results of one session differ");
}

const OrtApiBase* LoadRuntime(const fs::path& path) {
#if defined(_WIN32)
  HMODULE module = LoadLibraryExW(path.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  void* symbol =
      module ? reinterpret_cast<void*>(GetProcAddress(module, "OrtGetApiBase")) : nullptr;
#else
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* symbol = module ? dlsym(module, "OrtGetApiBase") : nullptr;
#endif
  if (symbol == nullptr) {
    std::fprintf(stderr, "session_test: %s does not load\n", path.string().c_str());
    std::exit(2);
  }
  return reinterpret_cast<const OrtApiBase* (*)()>(symbol)();
}

int Main(const std::vector<fs::path>& arguments) {
  const OrtApiBase* base = LoadRuntime(fs::absolute(arguments[0]));
  Ort::InitApi(base->GetApi(kApiVersion));
  const fs::path library = fs::absolute(arguments[1]);
  Reader file(arguments[2]);
  std::vector<Case> cases(file.Value<uint32_t>());
  for (Case& test : cases) test = ReadCase(file);
  const Ort::Env env(ORT_LOGGING_LEVEL_FATAL, "session_test");
  {
    const auto options = Options(library);
    for (Case& test : cases) CheckCase(env, options, test);
  }
  CheckPaths(env, library, arguments[3], cases.front());
  CheckLifetimes(env, library, cases.front());
  CheckThreads(env, library, cases);
  std::printf("ONNX Runtime %s: %zu cases, %d failures\n", base->GetVersionString(), cases.size(),
              failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: session_test ONNXRUNTIME LIBRARY CASES FOLDER\n");
    return 2;
  }
  try {
    return Main({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "session_test: %s\n", error.what());
    return 1;
  }
}
