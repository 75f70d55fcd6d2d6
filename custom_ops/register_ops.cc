// RegisterCustomOps, the only symbol the library exports: ONNX Runtime calls it with the session
// options that are to know the op.

#include <cstdio>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "frn_op.h"
#include "pin.h"

namespace frn {
namespace {

// Marks session options that have the domain: ONNX Runtime refuses a domain that is added twice.
// The mark lives in the options, so it is copied and dies with them; a table of the addresses of
// options would mistake new options for released ones.
constexpr char kRegisteredKey[] = "frn_onnx.registered";

// The 18 of "1.18.1". A 2.x would have to say with GetApi whether it still has this ABI.
uint32_t AbiVersion(const char* version) {
  unsigned major = 0, minor = 0;
  if (std::sscanf(version, "%u.%u", &major, &minor) != 2) return 0;
  return major == 1 ? minor : kAbiVersion;
}

// A domain, and the ops in it.
struct Domain {
  OrtCustomOpDomain* made = nullptr;
  std::vector<FrnCustomOp> ops;
};

// The ops as one ONNX Runtime sees them. Lives until the process ends, because sessions do not say
// when they stop using it. Addresses alone do not tell one runtime from another: one that is loaded
// when another is gone may get the same.
struct Registration {
  const OrtApiBase* base = nullptr;
  const OrtApi* api = nullptr;
  std::string version;
  Domain open, internal;
};

void Make(const OrtApi& api, const char* name, Domain* domain) {
  Check(api, api.CreateCustomOpDomain(name, &domain->made));
  for (const FrnCustomOp& op : domain->ops) Check(api, api.CustomOpDomain_Add(domain->made, &op));
}

// One process may hold more than one copy of ONNX Runtime; each gets domains of its own.
const Registration& RegistrationFor(const OrtApiBase* base, const OrtRuntime& runtime) {
  const char* version = base->GetVersionString();
  static auto& registrations = *new std::deque<Registration>();  // never destroyed, as above
  for (const Registration& known : registrations) {
    if (known.base == base && known.api == runtime.api && known.version == version) return known;
  }
  StayLoaded();
  Registration& made = registrations.emplace_back();
  const OrtApi& api = *runtime.api;
  try {
    AppendCpuOps(runtime, &made.open.ops);
#ifdef FRN_ONNX_WITH_CUDA
    AppendCudaOps(runtime, &made.open.ops);
#endif
    AppendBlockedOps(runtime, &made.internal.ops);
    Make(api, kDomain, &made.open);
    Make(api, kInternalDomain, &made.internal);
    made.version = version;
    made.api = runtime.api;
    made.base = base;
  } catch (...) {
    for (OrtCustomOpDomain* domain : {made.open.made, made.internal.made}) {
      if (domain != nullptr) api.ReleaseCustomOpDomain(domain);
    }
    registrations.pop_back();
    throw;
  }
  return made;
}

void Register(OrtSessionOptions* options, const OrtApiBase* base, const OrtRuntime& runtime) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  ForgetMadeNames();
  const OrtApi& api = *runtime.api;
  int registered = 0;
  Check(api, api.HasSessionConfigEntry(options, kRegisteredKey, &registered));
  if (registered != 0) return;
  const Registration& registration = RegistrationFor(base, runtime);
  Check(api, api.AddCustomOpDomain(options, registration.open.made));
  Check(api, api.AddCustomOpDomain(options, registration.internal.made));
  Check(api, api.AddSessionConfigEntry(options, kRegisteredKey, "1"));
}

}  // namespace
}  // namespace frn

#ifdef _WIN32
#define FRN_ONNX_EXPORT __declspec(dllexport)
#else
#define FRN_ONNX_EXPORT __attribute__((visibility("default")))
#endif

extern "C" FRN_ONNX_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                        const OrtApiBase* base) noexcept {
  using namespace frn;
  const char* version = base->GetVersionString();
  OrtRuntime runtime{nullptr, AbiVersion(version)};
  if (runtime.version >= kAbiVersion) runtime.api = base->GetApi(kAbiVersion);
  const bool fits = runtime.api != nullptr;
  const OrtApi& api = fits ? *runtime.api : *base->GetApi(1);  // every ONNX Runtime has version 1
  return Guard(api, [&] {
    if (!fits) {
      throw FrnError("frn_onnx " FRN_ONNX_VERSION " needs ONNX Runtime 1." +
                     std::to_string(kAbiVersion) + " or newer, this is " + version +
                     ". Upgrade onnxruntime, or run a portable file without the library.");
    }
    Register(options, base, runtime);
  });
}
