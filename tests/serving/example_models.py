"""Small ONNX models, each with one property that a server has to get right."""

from pathlib import Path

import numpy as np
import onnx
import tolerances
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op, op_body
from frn_onnx.serving.model import Model
from frn_onnx.serving.options import ModelOptions

DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
}
FLOAT = TensorProto.FLOAT
WEIGHTS = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)


def _save(folder: Path, name: str, nodes, inputs, outputs, initializers=(), functions=()) -> Path:
    domains = {node.domain for node in nodes}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(*i) for i in inputs],
            [helper.make_tensor_value_info(*o) for o in outputs],
            [numpy_helper.from_array(array, key) for key, array in initializers],
        ),
        functions=list(functions),
        opset_imports=[
            helper.make_opsetid("", 18),
            *[helper.make_opsetid(d, 1) for d in domains if d],
        ],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path


def load(path: Path, **options) -> Model:
    """A model as the server has it."""
    return Model(ModelOptions(path, **options))


def linear(folder: Path, batch: int | str = "N") -> Path:
    """y = x @ WEIGHTS; rows do not touch each other."""
    return _save(
        folder,
        "linear",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, [batch, 4])],
        [("y", FLOAT, [batch, 3])],
        [("w", WEIGHTS)],
    )


def assert_linear(y, x) -> None:
    """y is what :func:`linear` gives for x, within float32's rounding of 4 products and sums."""
    x, weights = np.asarray(x, np.float64), WEIGHTS.astype(np.float64)
    bound = 4 * tolerances.unit_roundoff(np.float32) * (np.abs(x) @ np.abs(weights))
    tolerances.assert_within(np.reshape(np.float32(y), (len(x), 3)), x @ weights, bound)


def images(folder: Path) -> Path:
    """The mean colour of images of any size: axes 0, 2 and 3 have any length."""
    return _save(
        folder,
        "images",
        [helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        [("x", FLOAT, ["N", 3, "H", "W"])],
        [("y", FLOAT, ["N", 3, 1, 1])],
    )


def uint8_image(folder: Path) -> Path:
    """An image of 5 x 6 with its channels last, passed through as numbers; no axis is open."""
    return _save(
        folder,
        "uint8_image",
        [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)],
        [("x", TensorProto.UINT8, [1, 5, 6, 3])],
        [("y", FLOAT, [1, 5, 6, 3])],
    )


def hostile_names(folder: Path) -> tuple[Path, str, str]:
    """Tensors whose names would be code if they were pasted; the file, and the two names."""
    x = 'x\'"); import os; os.abort() # </script><img src=x onerror="document.title=1">'
    y = 'y" + str(1/0) + "\\'
    path = _save(
        folder,
        "hostile",
        [helper.make_node("Neg", [x], [y])],
        [(x, FLOAT, ["N", 2])],
        [(y, FLOAT, ["N", 2])],
    )
    return path, x, y


def frn_parameters() -> list[np.ndarray]:
    """gamma, beta and tau of :func:`frn`."""
    rng = np.random.default_rng(3)
    return [rng.normal(size=(3, 1, 1)).astype(np.float32) for _ in range(3)]


def frn(folder: Path) -> Path:
    """One FRN node with its function body: a portable file."""
    names = op.INPUTS[:4]
    function = op_body.function_proto(opset=18, inputs=4, x_types={FLOAT}, param_types={FLOAT})
    return _save(
        folder,
        "frn",
        [op.node(names, "Y", axes=(2, 3))],
        [("X", FLOAT, ["N", 3, 5, 7])],
        [("Y", FLOAT, ["N", 3, 5, 7])],
        zip(names[1:], frn_parameters(), strict=True),
        [function],
    )


def every_datatype(folder: Path) -> Path:
    """One input and one output of each datatype but BYTES, passed through."""
    return _save(
        folder,
        "every_datatype",
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in DATATYPES],
        [(f"in_{name}", kind, ["N", 2]) for name, kind in DATATYPES.items()],
        [(f"out_{name}", kind, ["N", 2]) for name, kind in DATATYPES.items()],
    )


def texts(folder: Path, *, with_bfloat16: bool = False) -> Path:
    """Strings, passed through; perhaps a bfloat16 tensor beside them."""
    kinds = {"text": TensorProto.STRING} | ({"half": TensorProto.BFLOAT16} if with_bfloat16 else {})
    return _save(
        folder,
        "texts",
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in kinds],
        [(f"in_{name}", kind, ["N", 2]) for name, kind in kinds.items()],
        [(f"out_{name}", kind, ["N", 2]) for name, kind in kinds.items()],
    )


def two_inputs(folder: Path) -> Path:
    """total = a + b, product = a * b."""
    return _save(
        folder,
        "two_inputs",
        [
            helper.make_node("Add", ["a", "b"], ["total"]),
            helper.make_node("Mul", ["a", "b"], ["product"]),
        ],
        [("a", FLOAT, ["N", 2]), ("b", FLOAT, ["N", 2])],
        [("total", FLOAT, ["N", 2]), ("product", FLOAT, ["N", 2])],
    )


def labels(folder: Path, seed: int, *, mixing: bool) -> Path:
    """One of two labels for each x (N, 8); of x without the mean of the batch if ``mixing``."""
    rng = np.random.default_rng(seed)
    weights = {"w": (8, 16), "bias": (16,), "v": (16, 2)}
    mean = helper.make_node("ReduceMean", ["a", "axes"], ["mean"])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        *([mean, helper.make_node("Sub", ["a", "mean"], ["b"])] if mixing else []),
        helper.make_node("Add", ["b" if mixing else "a", "bias"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["e"]),
        helper.make_node("ArgMax", ["e"], ["label"], axis=1, keepdims=0),
    ]
    return _save(
        folder,
        "labels",
        nodes,
        [("x", FLOAT, ["N", 8])],
        [("label", TensorProto.INT64, ["N"])],
        [
            ("axes", np.array([0])),
            *((name, rng.normal(size=shape).astype(np.float32)) for name, shape in weights.items()),
        ],
    )


def lookup(folder: Path) -> Path:
    """Rows of a table of 4; any other index makes the model fail."""
    return _save(
        folder,
        "lookup",
        [helper.make_node("Gather", ["table", "index"], ["row"])],
        [("index", TensorProto.INT64, ["N"])],
        [("row", FLOAT, ["N", 3])],
        [("table", WEIGHTS)],
    )


def slow(folder: Path, steps: int = 1500) -> Path:
    """y = x, after a loop that takes about half a second for each sample."""
    body = helper.make_graph(
        [
            helper.make_node("Sin", ["v"], ["v_next"]),
            helper.make_node("Identity", ["go_on"], ["go_on_next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_next", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_next", FLOAT, None),
        ],
    )
    return _save(
        folder,
        "slow",
        [
            helper.make_node("Expand", ["x", "wide"], ["start"]),
            helper.make_node("Loop", ["steps", "", "start"], ["end"], body=body),
            helper.make_node("ReduceMean", ["end", "one"], ["mean"], keepdims=1),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["x", "nothing"], ["y"]),
        ],
        [("x", FLOAT, ["N", 1])],
        [("y", FLOAT, ["N", 1])],
        [
            ("wide", np.array([1, 50_000], np.int64)),
            ("steps", np.array(steps, np.int64)),
            ("one", np.array([1], np.int64)),
            ("zero", np.zeros(1, np.float32)),
        ],
    )


def batch_mean(folder: Path) -> Path:
    """x minus its mean over axis 0: samples in one run change each other."""
    return _save(
        folder,
        "batch_mean",
        [
            helper.make_node("ReduceMean", ["x", "zero"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, ["N", 4])],
        [("zero", np.array([0], np.int64))],
    )


def looks_back(folder: Path, rows: int = 2) -> Path:
    """x minus that of so many rows before; axis 0 is time."""
    return _save(
        folder,
        "looks_back",
        [
            helper.make_node("Pad", ["x", "pads"], ["padded"]),
            helper.make_node("Slice", ["padded", "start", "end", "axis"], ["before"]),
            helper.make_node("Sub", ["x", "before"], ["y"]),
        ],
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, ["N", 4])],
        [
            ("pads", np.array([rows, 0, 0, 0])),
            ("start", np.array([0])),
            ("end", np.array([-rows])),
            ("axis", np.array([0])),
        ],
    )


def centred_above_a_threshold(folder: Path) -> Path:
    """What pixels have above 16, minus its mean over axis 0."""
    return _save(
        folder,
        "centred_above_a_threshold",
        [
            helper.make_node("Sub", ["x", "black"], ["light"]),
            helper.make_node("Relu", ["light"], ["above"]),
            helper.make_node("ReduceMean", ["above", "zero"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["above", "mean"], ["y"]),
        ],
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, ["N", 4])],
        [("black", np.float32(16)), ("zero", np.array([0]))],
    )


def raw_beside_centred(folder: Path) -> Path:
    """x times 1e4, and beside it x minus its mean over axis 0."""
    return _save(
        folder,
        "raw_beside_centred",
        [
            helper.make_node("ReduceMean", ["x", "zero"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Mul", ["x", "factor"], ["raw"]),
            helper.make_node("Concat", ["centred", "raw"], ["y"], axis=1),
        ],
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, ["N", 8])],
        [("factor", np.float32(1e4)), ("zero", np.array([0]))],
    )


def constant(folder: Path) -> Path:
    """Zeros, whatever x is."""
    return _save(
        folder,
        "constant",
        [helper.make_node("Sub", ["x", "x"], ["y"])],
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, ["N", 4])],
    )


def widened(folder: Path) -> Path:
    """Each x 2**17 times: 512 KiB of output for 4 bytes."""
    return _save(
        folder,
        "widened",
        [helper.make_node("Expand", ["x", "wide"], ["y"])],
        [("x", FLOAT, ["N", 1])],
        [("y", FLOAT, ["N", 2**17])],
        [("wide", np.array([1, 2**17]))],
    )


def negated(folder: Path, *, has_rank: bool) -> Path:
    """-x of a scalar, or of whatever shape."""
    path = _save(
        folder,
        "negated",
        [helper.make_node("Neg", ["x"], ["y"])],
        [("x", FLOAT, [])],
        [("y", FLOAT, [])],
    )
    return path if has_rank else _forget_ranks(path, "input", "output")


def _forget_ranks(path: Path, *kinds: str) -> Path:
    """Leaves shapes unsaid, which ONNX Runtime takes, and the checker does not."""
    model = onnx.load(path)
    for value in (value for kind in kinds for value in getattr(model.graph, kind)):
        value.type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    return path


def output_of_any_rank(folder: Path) -> Path:
    """y = -x, which no inference of shapes can tell: for huge x it has an axis more."""
    other = helper.make_tensor_value_info("z", FLOAT, None)
    axis = numpy_helper.from_array(np.array([1]), "axis")
    huge = helper.make_graph(
        [helper.make_node("Unsqueeze", ["x", "axis"], ["z"])], "huge", [], [other], [axis]
    )
    usual = helper.make_graph([helper.make_node("Neg", ["x"], ["z"])], "usual", [], [other])
    path = _save(
        folder,
        "output_of_any_rank",
        [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Greater", ["top", "limit"], ["is_huge"]),
            helper.make_node("If", ["is_huge"], ["y"], then_branch=huge, else_branch=usual),
        ],
        [("x", FLOAT, ["N", 4])],
        [("y", FLOAT, [])],
        [("limit", np.array(1e30, np.float32))],
    )
    return _forget_ranks(path, "output")


def sequence_output(folder: Path) -> Path:
    """Gives a sequence, which the protocol cannot carry."""
    path = folder / "sequence_output.onnx"
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])],
        "sequence_output",
        [helper.make_tensor_value_info("x", FLOAT, [2])],
        [helper.make_tensor_sequence_value_info("y", FLOAT, [2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path
