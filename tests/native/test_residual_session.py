"""The op with a residual inside ONNX Runtime: types, layouts, inputs, errors, memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import ort_models
import pytest
from native_cases import DTYPES, channels_of, check, make_params, make_residual, make_x
from onnx import helper

from frn_onnx import op

INPUTS = ("X", "residual", "gamma", "beta", "tau", "epsilon")
LAYOUTS = [
    ((2, 5, 6, 7), (2, 3)),
    ((2, 6, 7, 5), (1, 2)),
    ((2, 6, 5, 7), (1, 3)),
    ((2, 5, 9), (2,)),
    ((2, 3, 4, 2, 5), (1, 2, 3)),
    ((3, 5, 1, 1), (2, 3)),
]


def feeds_for(rng, shape, axes, dtype, inputs=INPUTS[:5], param_dtype=None):
    channels = channels_of(shape, axes)
    like = op.param_shape(op.normalize_axes(axes), channels)
    gamma, beta, tau = make_params(rng, channels, np.float32)
    feeds = {"X": make_x(rng, shape, dtype), "residual": make_residual(rng, shape, dtype)}
    for name, value in {"gamma": gamma, "beta": beta, "tau": tau}.items():
        feeds[name] = value.reshape(like).astype(param_dtype or dtype)
    feeds["epsilon"] = np.linspace(0.2, 1.5, channels, dtype=np.float32).reshape(like)
    return {name: value for name, value in feeds.items() if name in inputs}


def check_feeds(y, feeds, axes):
    check(
        y,
        *(feeds[name] for name in ("X", "gamma", "beta")),
        None if "tau" not in feeds else feeds["tau"].reshape(-1),
        feeds["residual"],
        epsilon=feeds.get("epsilon", np.float32(1e-3)),
        axes=axes,
    )


def model_of(shape, axes, dtype="float32", **options):
    options = {"inputs": INPUTS[:5], "channels": 5, **options}
    return ort_models.frn_model(x=shape, axes=axes, dtype=dtype, **options)


@pytest.mark.parametrize("param_dtype", [None, "float32"], ids=["parameters in T", "in float"])
@pytest.mark.parametrize(
    "inputs",
    [INPUTS[:4], INPUTS[:5], INPUTS, (*INPUTS[:4], "", "epsilon")],
    ids=["no tau", "tau", "tau and epsilon", "epsilon"],
)
@pytest.mark.parametrize(("shape", "axes"), LAYOUTS)
def test_every_combination(rng, target, dtype, shape, axes, inputs, param_dtype):
    feeds = feeds_for(rng, shape, axes, dtype, inputs, param_dtype)
    model = model_of(shape, axes, dtype.name, inputs=inputs, param_dtype=param_dtype)
    check_feeds(ort_models.run(ort_models.session(model), feeds), feeds, axes)


@pytest.mark.parametrize("name", ["float32", "float16", "float64"])
def test_constant_parameters_give_the_same_bits(rng, target, name):
    shape, axes = (2, 6, 7, 5), (1, 2)
    feeds = feeds_for(rng, shape, axes, DTYPES[name])
    given = ort_models.session(model_of(shape, axes, name)).run(None, feeds)[0]
    params = {parameter: feeds.pop(parameter) for parameter in ("gamma", "beta", "tau")}
    model = ort_models.with_constants(model_of(shape, axes, name), params)
    assert ort_models.session(model).run(None, feeds)[0].tobytes() == given.tobytes()


def test_same_tensor_twice(rng):
    """X is its own residual, and may not be written over before it is read."""
    shape, axes = (2, 5, 6, 7), (2, 3)
    feeds = feeds_for(rng, shape, axes, DTYPES["float32"])
    model = model_of(shape, axes)
    model.graph.node[0].input[1] = "doubled"
    model.graph.node[0].input[0] = "doubled"
    model.graph.node.insert(0, helper.make_node("Add", ["X", "X"], ["doubled"]))
    del model.graph.input[1]
    del feeds["residual"]
    y = ort_models.session(model).run(None, feeds)[0]
    doubled = feeds["X"] * 2
    check_feeds(y, {**feeds, "X": doubled, "residual": doubled}, axes)


@pytest.mark.parametrize("constant", ["X", "residual"])
def test_constant_tensors(rng, constant):
    shape, axes = (2, 5, 6, 7), (2, 3)
    feeds = feeds_for(rng, shape, axes, DTYPES["float32"])
    model = ort_models.with_constants(model_of(shape, axes), {constant: feeds[constant]})
    given = {name: value for name, value in feeds.items() if name != constant}
    check_feeds(ort_models.session(model).run(None, given)[0], feeds, axes)


@pytest.mark.parametrize("x", [["N", 5, "H", "W"], [None] * 4, None])
def test_shapes_known_only_at_run_time(rng, x):
    session = ort_models.session(model_of(x, (2, 3)))
    for shape in [(2, 5, 6, 7), (1, 5, 9, 3), (0, 5, 2, 2), (3, 5, 1, 1)]:
        feeds = feeds_for(rng, shape, (2, 3), DTYPES["float32"])
        check_feeds(session.run(None, feeds)[0], feeds, (2, 3))


def test_shape_inference():
    model = model_of(["N", 5, "H", 7], (2, 3), nodes=2)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert ort_models.session(model).get_outputs()[0].shape == ["N", 5, "H", 7]


class TestRefused:
    shape, axes = (2, 5, 6, 7), (2, 3)

    def refused(self, model, pattern):
        with pytest.raises(Exception, match=pattern) as error:
            ort_models.session(model)
        assert "(node 'frn_Y')" in str(error.value)

    def residual_of(self, model) -> onnx.TypeProto.Tensor:
        (value,) = [value for value in model.graph.input if value.name == "residual"]
        return value.type.tensor_type

    @pytest.mark.parametrize("received", [(2, 5, 6, 1), (1, 5, 6, 7), (5, 6, 7), (2, 5, 6, 8)])
    def test_shape_when_made(self, received):
        model = model_of(self.shape, self.axes)
        info = helper.make_tensor_value_info("residual", 1, received)
        self.residual_of(model).CopyFrom(info.type.tensor_type)
        shown = str(received).replace("(", r"\(").replace(")", r"\)")
        self.refused(
            model,
            r"residual must have the shape of X, \(2, 5, 6, 7\), received "
            + shown
            + ".*added element by element: insert an Expand",
        )

    @pytest.mark.parametrize("received", [(2, 5, 6, 1), (1, 5, 6, 7), (5, 6, 7), (2, 5, 6, 8)])
    def test_shape_when_run(self, rng, received):
        model = model_of(["N", 5, "H", "W"], self.axes)
        self.residual_of(model).ClearField("shape")
        feeds = feeds_for(rng, self.shape, self.axes, DTYPES["float32"])
        feeds["residual"] = np.ones(received, np.float32)
        with pytest.raises(Exception, match="residual must have the shape of X") as error:
            ort_models.session(model).run(None, feeds)
        assert f"(2, 5, 6, 7), received {received}" in str(error.value)

    @pytest.mark.parametrize(
        ("dtype", "other"), [("float32", "float16"), ("float16", "float32"), ("float32", "int8")]
    )
    def test_type(self, dtype, other):
        model = model_of(self.shape, self.axes, dtype)
        self.residual_of(model).elem_type = ort_models.ELEMENT_TYPES[other]
        name = {"float32": "float"}.get(dtype, dtype)
        got = {"float32": "float"}.get(other, other)
        self.refused(
            model, rf"residual must be {name} \(the type of X\), received {got}. Insert a Cast"
        )

    def test_type_of_x(self):
        self.refused(
            model_of(self.shape, self.axes, "int8"),
            "X must be float, float16, bfloat16 or double, received int8",
        )

    def test_parameter(self):
        self.refused(
            model_of(self.shape, self.axes, channels=4), r"gamma must have shape \(5, 1, 1\)"
        )


TENSOR_MB = 64
# As in test_in_place.py: a residual block's tail, repeated; each Y may be written over X, or, where
# X is needed again, over the residual.
SCRIPT = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import ort_models
from onnx import helper
over, nodes = sys.argv[2], int(sys.argv[3])
shape = (1, 16, 1024, 1024)
inputs = ("X", "residual", "gamma", "beta", "tau")
model = ort_models.frn_model(x=shape, axes=(2, 3), channels=16, nodes=nodes, inputs=inputs)
if over == "residual":
    for node in model.graph.node:
        node.input[0], node.input[1] = "residual", node.input[0]
model.graph.node.append(helper.make_node("GlobalMaxPool", ["Y"], ["Z"]))
model.graph.output[0].CopyFrom(helper.make_tensor_value_info("Z", 1, (1, 16, 1, 1)))
parameters = {name: np.ones((16, 1, 1), np.float32) for name in ("gamma", "beta", "tau")}
x = np.ones(shape, np.float32)
ort_models.session(model).run(None, {"X": x, "residual": x, **parameters})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mb(over: str, nodes: int) -> int:
    tests = str(Path(__file__).parents[1])
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, tests, over, str(nodes)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(process.stdout)


@pytest.mark.parametrize("over", ["X", "residual"])
def test_memory_of_a_chain_does_not_grow(over):
    peaks = {nodes: peak_mb(over, nodes) for nodes in (1, 6)}
    assert peaks[6] - peaks[1] < TENSOR_MB / 2, peaks
