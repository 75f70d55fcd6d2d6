// A stand-in of ONNX Runtime behind the C API of ort_abi.h, for tests that call the ops as a
// session would. It is stricter than the real one: every handle is checked to be alive and of the
// right kind, what is allocated is counted, a slot that the plugin does not name aborts, and any
// call can be made to fail. A broken rule of the API ends the program with a message.

#ifndef FRN_ONNX_TESTS_FAKE_ORT_H_
#define FRN_ONNX_TESTS_FAKE_ORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ort_abi.h"

namespace fake_ort {

using Dims = std::vector<int64_t>;
using ElementType = ONNXTensorElementDataType;

// What a model says of a tensor, or a tensor has: -1 and a name, or no name, for a size not known.
struct TensorType {
  ElementType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  Dims dims;                       // empty: a scalar, or of unknown rank
  std::vector<std::string> names;  // as many as dims, or none
};

// An input of a node: what is known when the session is made, and what comes at run time.
struct Input {
  bool present = true;
  bool is_tensor = true;
  bool constant = false;
  TensorType known;
  Dims dims;
  void* data = nullptr;
};

struct NoAttribute {};
struct OtherAttribute {};  // of a type that the ops have no attribute of

struct Node {
  std::string name = "frn";
  std::variant<NoAttribute, OtherAttribute, Dims, int64_t> axes;
  std::variant<NoAttribute, OtherAttribute, float, int64_t> epsilon;
  std::vector<Input> inputs;
  void* y = nullptr;
};

// How ParallelFor runs its tasks.
enum class Order { kForwards, kBackwards, kThreads };

// What a call into the plugin gave: code ORT_OK, or code and message of the status.
struct Outcome {
  OrtErrorCode code = ORT_OK;
  std::string message;
};
Outcome Take(OrtStatus* status);  // releases it

// The API of a runtime that says it is `version`; as many as kRuntimes may be asked for, each with
// a base of its own, as several copies of ONNX Runtime in a process have.
constexpr int kRuntimes = 64;
const OrtApiBase* MakeRuntime(const char* version);
const OrtApi* Api();

// Session options, and the ops that RegisterCustomOps added to them.
OrtSessionOptions* MakeOptions();
void FreeOptions(OrtSessionOptions* options);
std::vector<const OrtCustomOp*> OpsOf(const OrtSessionOptions* options);

// One node as a session has it: makes, infers, runs, destroys. Any number of threads may Run.
class Session {
 public:
  Session(const OrtCustomOp& op, const Node& node);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Outcome& made() const { return made_; }
  Outcome Infer(std::optional<TensorType>* y) const;
  // `node` has the tensors of this call.
  Outcome Run(const Node& node, Order order) const;

 private:
  const OrtCustomOp& op_;
  const Node& node_;
  void* kernel_ = nullptr;
  Outcome made_;
};

// The call number `nth` from now (1 is the next) fails with `code`; 0: none. For one thread.
void FailCall(int nth, OrtErrorCode code);
bool CallFailed();         // whether it came to that
const char* FailedCall();  // its name

// Objects that the plugin has been given and must give back: statuses, type infos, shapes.
int64_t LiveObjects();
// While one lives, operator new of the tests does not fail: the code of the stand-in itself.
struct Inside {
  Inside();
  ~Inside();
  static bool Now();
};

}  // namespace fake_ort

#endif  // FRN_ONNX_TESTS_FAKE_ORT_H_
