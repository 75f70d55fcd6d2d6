// The Python entry for CUDA arrays (cuda/bind.h) over the emulator: addresses are the CPU's.

#include "cuda/bind.h"

PYBIND11_MODULE(_emulated, module) { frn::BindCuda(module); }
