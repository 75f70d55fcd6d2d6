// The table of the stand-in, statuses and registration. Each call checks its handles and arguments
// as the real one documents them, and the caller where the real one trusts it.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "tests/fake_ort_handles.h"

namespace fake_ort {
namespace {

void Unused() { Broken("OrtApi", "a slot was called that ort_abi.h does not name"); }

// ---- statuses ----

OrtStatus* CreateStatus(OrtErrorCode code, const char* message) {
  const Inside guard;
  if (code == ORT_OK) Broken("CreateStatus", "ORT_OK is not an error");
  if (message == nullptr || *message == '\0') Broken("CreateStatus", "no message");
  return Fail(code, message);
}

OrtErrorCode GetErrorCode(const OrtStatus* status) {
  Live(status, "status");
  return status->code;
}

const char* GetErrorMessage(const OrtStatus* status) {
  Live(status, "status");
  return status->message.c_str();
}

template <class T>
void Release(T* object) {
  if (object == nullptr) return;
  Live(object, "released object");
  delete object;
}

void ReleaseInfo(OrtTensorTypeAndShapeInfo* info) {
  if (info == nullptr) return;
  Live(info, "shape info");
  if (!info->owned) Broken("ReleaseTensorTypeAndShapeInfo", "it belongs to another object");
  delete info;
}

// ---- registration ----

OrtStatus* CreateDomain(const char* name, OrtCustomOpDomain** out) {
  FRN_ENTER("CreateCustomOpDomain");
  *out = new OrtCustomOpDomain;
  (*out)->name = name;
  return nullptr;
}

OrtStatus* AddOp(OrtCustomOpDomain* domain, const OrtCustomOp* op) {
  FRN_ENTER("CustomOpDomain_Add");
  Live(domain, "domain");
  if (op->version == 0 || op->version > 99) Broken("CustomOpDomain_Add", "version of the op");
  domain->ops.push_back(op);
  return nullptr;
}

OrtStatus* AddDomain(OrtSessionOptions* options, OrtCustomOpDomain* domain) {
  FRN_ENTER("AddCustomOpDomain");
  Live(options, "options");
  Live(domain, "domain");
  options->domains.push_back(domain);
  return nullptr;
}

OrtStatus* AddEntry(OrtSessionOptions* options, const char* key, const char* value) {
  FRN_ENTER("AddSessionConfigEntry");
  Live(options, "options");
  if (*key == '\0' || value == nullptr) return Fail(ORT_INVALID_ARGUMENT, "empty key");
  options->entries.insert(key);
  return nullptr;
}

OrtStatus* HasEntry(const OrtSessionOptions* options, const char* key, int* out) {
  FRN_ENTER("HasSessionConfigEntry");
  Live(options, "options");
  *out = options->entries.count(key) > 0 ? 1 : 0;
  return nullptr;
}

OrtApi MakeTable() {
  OrtApi api;
  void (*unused)() = Unused;
  for (size_t at = 0; at + sizeof(unused) <= sizeof(api); at += sizeof(unused)) {
    std::memcpy(reinterpret_cast<char*>(&api) + at, &unused, sizeof(unused));
  }
  api.CreateStatus = CreateStatus;
  api.GetErrorCode = GetErrorCode;
  api.GetErrorMessage = GetErrorMessage;
  api.CreateCustomOpDomain = CreateDomain;
  api.CustomOpDomain_Add = AddOp;
  api.AddCustomOpDomain = AddDomain;
  api.ReleaseStatus = Release<OrtStatus>;
  api.ReleaseTypeInfo = Release<OrtTypeInfo>;
  api.ReleaseTensorTypeAndShapeInfo = ReleaseInfo;
  api.ReleaseCustomOpDomain = Release<OrtCustomOpDomain>;
  api.AddSessionConfigEntry = AddEntry;
  api.HasSessionConfigEntry = HasEntry;
  FillTensorCalls(&api);
  FillNodeCalls(&api);
  return api;
}

// A base has no place for its own data: one function each.
const char* versions[kRuntimes];
OrtApiBase bases[kRuntimes];

template <int kIndex>
const char* GetVersion() {
  return versions[kIndex];
}
template <int kIndex>
const OrtApi* GetApiOf(uint32_t version) {
  unsigned major = 0, minor = 0;
  std::sscanf(versions[kIndex], "%u.%u", &major, &minor);
  return version <= 1 || version <= minor || major > 1 ? Api() : nullptr;  // all have version 1
}
template <int... kIndices>
void Fill(std::integer_sequence<int, kIndices...>) {
  ((bases[kIndices] = {GetApiOf<kIndices>, GetVersion<kIndices>}), ...);
}

}  // namespace

const OrtApi* Api() {
  static const OrtApi api = MakeTable();
  return &api;
}

const OrtApiBase* MakeRuntime(const char* version) {
  static int made = 0;
  if (made == 0) Fill(std::make_integer_sequence<int, kRuntimes>());
  if (made == kRuntimes) Broken("MakeRuntime", "too many");
  versions[made] = version;
  return &bases[made++];
}

}  // namespace fake_ort
