// Keeps this library in the process.

#ifndef FRN_ONNX_PIN_H_
#define FRN_ONNX_PIN_H_

namespace frn {

// ONNX Runtime unloads the library with the last session options, but the domain it was given lives
// as long as the process (register_ops.cc). Throws FrnError where the system refuses.
void StayLoaded();

}  // namespace frn

#endif  // FRN_ONNX_PIN_H_
