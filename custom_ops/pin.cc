#include "pin.h"

#if defined(_WIN32)
#include <windows.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#endif

#include <string>

#include "frn_shape.h"

namespace frn {

void StayLoaded() {
#if defined(_WIN32)
  HMODULE module = nullptr;
  constexpr DWORD kHow = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
  if (GetModuleHandleExW(kHow, reinterpret_cast<LPCWSTR>(&StayLoaded), &module) == 0) {
    throw FrnError("FRN: the library could not be pinned, Windows' error " +
                   std::to_string(GetLastError()) + ".");
  }
#elif defined(__APPLE__)
  Dl_info info;
  const bool found = dladdr(reinterpret_cast<const void*>(&StayLoaded), &info) != 0;
  if (!found || dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_NODELETE | RTLD_NOW) == nullptr) {
    throw FrnError("FRN: the library could not be pinned: " +
                   std::string(found ? dlerror() : "its file was not found") + ".");
  }
#endif  // elsewhere the linker's -z nodelete has done it
}

}  // namespace frn
