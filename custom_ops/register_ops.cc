// RegisterCustomOps, the only symbol the library exports: ONNX Runtime calls it with the session
// options that are to know the op.

#include <cstdio>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "frn_op.h"

namespace frn {
namespace {

// Marks session options that have the domain: ONNX Runtime refuses a domain that is added twice.
// The mark lives in the options, so it is copied and dies with them; a table of the addresses of
// options would mistake new options for released ones.
constexpr char kRegisteredKey[] = "frn_onnx.registered";

// The 18 of "1.18.1"; every ONNX Runtime 1.x has ABI version x.
uint32_t ApiVersion(const char* runtime_version) {
  unsigned major = 0, minor = 0;
  if (std::sscanf(runtime_version, "%u.%u", &major, &minor) != 2) return 0;
  return major == 1 ? minor : kNewestApi;
}

// The ops as one ONNX Runtime sees them. Lives until the process ends, because sessions do not say
// when they stop using it.
struct Registration {
  const OrtApiBase* base = nullptr;
  std::vector<FrnCustomOp> ops;
  OrtCustomOpDomain* domain = nullptr;
};

Registration MakeRegistration(const OrtApiBase* base, const OrtApi& api, uint32_t version) {
  Registration registration;
  registration.base = base;
  AppendCpuOps(api, version, &registration.ops);
#ifdef FRN_ONNX_WITH_CUDA
  AppendCudaOps(api, version, &registration.ops);
#endif
  return registration;
}

// One process may hold more than one copy of ONNX Runtime; each gets a domain of its own.
OrtCustomOpDomain* DomainFor(const OrtApiBase* base, const OrtApi& api, uint32_t version) {
  static auto& registrations = *new std::deque<Registration>();  // never destroyed, as above
  for (const Registration& known : registrations) {
    if (known.base == base) return known.domain;
  }
  registrations.push_back(MakeRegistration(base, api, version));
  Registration& registration = registrations.back();
  try {
    Check(api, api.CreateCustomOpDomain(kDomain, &registration.domain));
    for (const FrnCustomOp& op : registration.ops) {
      Check(api, api.CustomOpDomain_Add(registration.domain, &op));
    }
  } catch (...) {
    if (registration.domain != nullptr) api.ReleaseCustomOpDomain(registration.domain);
    registrations.pop_back();
    throw;
  }
  return registration.domain;
}

void Register(OrtSessionOptions* options, const OrtApiBase* base, const OrtApi& api,
              uint32_t version) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  int registered = 0;
  Check(api, api.HasSessionConfigEntry(options, kRegisteredKey, &registered));
  if (registered != 0) return;
  Check(api, api.AddCustomOpDomain(options, DomainFor(base, api, version)));
  Check(api, api.AddSessionConfigEntry(options, kRegisteredKey, "1"));
}

}  // namespace
}  // namespace frn

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const OrtApiBase* base) noexcept {
  const char* runtime = base->GetVersionString();
  const uint32_t runtime_api = frn::ApiVersion(runtime);
  if (runtime_api < frn::kOldestApi) {
    const OrtApi* oldest = base->GetApi(1);  // every ONNX Runtime has it
    return frn::Guard(*oldest, [&] {
      throw frn::FrnError("frn_onnx " FRN_ONNX_VERSION " needs ONNX Runtime 1." +
                          std::to_string(frn::kOldestApi) + " or newer, this is " + runtime +
                          ". Upgrade onnxruntime, or run a portable file without the library.");
    });
  }
  const uint32_t version = runtime_api < frn::kNewestApi ? runtime_api : frn::kNewestApi;
  const OrtApi* api = base->GetApi(version);
  if (api == nullptr) return nullptr;
  return frn::Guard(*api, [&] { frn::Register(options, base, *api, version); });
}
