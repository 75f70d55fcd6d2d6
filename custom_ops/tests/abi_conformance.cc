// Compiles if ort_abi.h says what the official onnxruntime_c_api.h says. Never run.
//
// ort_abi.h is read twice: as it is, for its constants, and with the official types in place of its
// own, so that signatures can be compared. What is compared is taken from ort_abi.h itself, by
// tests/native/test_abi.py, which also breaks the header in many ways and sees that none compiles:
// abi_names.inc has FRN_SLOT(index, name) for each named slot of OrtApi, FRN_FIELD(name) for each
// field of OrtCustomOp, FRN_BASE(name) for each of OrtApiBase, FRN_CONSTANT(name) for each
// enumerator, FRN_ENUM(name) for each enumeration.

#include <onnxruntime_c_api.h>

#include <cstddef>
#include <type_traits>

namespace own {
#include "ort_abi.h"
}  // namespace own

#undef FRN_ONNX_ORT_ABI_H_
#define FRN_ONNX_ORT_ABI_OFFICIAL_TYPES
namespace typed {
#include "ort_abi.h"
}  // namespace typed

namespace {

static_assert(ORT_API_VERSION >= 18, "the official header is older than ort_abi.h");

// A function's type with the structs that ort_abi.h defines replaced by the official ones, and
// without noexcept, which only the official pointers have.
template <class T>
struct Official {
  using type = T;
};
template <class T>
struct Official<T*> {
  using type = typename Official<T>::type*;
};
template <class T>
struct Official<const T> {
  using type = const typename Official<T>::type;
};
template <>
struct Official<typed::OrtCustomOp> {
  using type = ::OrtCustomOp;
};
template <>
struct Official<typed::OrtApi> {
  using type = ::OrtApi;
};
template <class R, class... Args>
struct Official<R(Args...)> {
  using type = typename Official<R>::type(typename Official<Args>::type...);
};
template <class R, class... Args>
struct Official<R(Args...) noexcept> : Official<R(Args...)> {};

template <class A, class B>
constexpr bool kSame = std::is_same_v<typename Official<A>::type, typename Official<B>::type>;

#define FRN_SAME(type, name)                                                   \
  static_assert(offsetof(::type, name) == offsetof(typed::type, name), #name); \
  static_assert(kSame<decltype(::type::name), decltype(typed::type::name)>, #name)

#define FRN_SLOT(index, name)                                              \
  static_assert(offsetof(::OrtApi, name) == index * sizeof(void*), #name); \
  FRN_SAME(OrtApi, name);
#define FRN_FIELD(name) FRN_SAME(OrtCustomOp, name);
#define FRN_BASE(name) FRN_SAME(OrtApiBase, name);
#define FRN_ENUM(name) static_assert(sizeof(::name) == sizeof(own::name), #name);
#define FRN_CONSTANT(name) \
  static_assert(static_cast<int>(::name) == static_cast<int>(own::name), #name);

#include "abi_names.inc"

// ONNX Runtime reads no further than the version that the struct states.
static_assert(sizeof(::OrtCustomOp) >= sizeof(typed::OrtCustomOp));
static_assert(sizeof(::OrtApi) >= sizeof(typed::OrtApi));

}  // namespace
