"""The op inside ONNX Runtime sessions: every element type, layout and combination of inputs."""

import concurrent.futures

import numpy as np
import onnx
import ort_models
import pytest
from native_cases import CASES, DTYPES, channels_of, check, make_params, make_x
from onnx import helper

import frn_onnx
from frn_onnx import op

LAYOUTS = [((2, 5, 6, 7), (2, 3)), ((2, 6, 7, 5), (1, 2)), ((2, 6, 5, 7), (1, 3))]


def feeds_for(rng, shape, axes, dtype, inputs, param_dtype) -> dict[str, np.ndarray]:
    channels = channels_of(shape, axes)
    expanded = op.param_shape(op.normalize_axes(axes), channels)
    gamma, beta, tau = make_params(rng, channels, np.float32)
    epsilon = np.linspace(0.2, 1.5, channels, dtype=np.float32)
    params = {"gamma": gamma, "beta": beta, "tau": tau}
    feeds = {
        name: value.reshape(expanded).astype(param_dtype)
        for name, value in params.items()
        if name in inputs
    }
    if "epsilon" in inputs:
        feeds["epsilon"] = epsilon.reshape(expanded)
    return {"X": make_x(rng, shape, dtype), **feeds}


def check_feeds(y, feeds, axes, epsilon=1e-3):
    check(
        y,
        *(feeds[name] for name in ("X", "gamma", "beta")),
        feeds.get("tau"),
        epsilon=feeds.get("epsilon", np.float32(epsilon)),
        axes=op.normalize_axes(axes),
    )


@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_every_shape(rng, dtype, shape, axes):
    feeds = feeds_for(rng, shape, axes, dtype, op.INPUTS[:4], dtype)
    model = ort_models.frn_model(
        x=shape, axes=axes, channels=channels_of(shape, axes), dtype=dtype.name
    )
    check_feeds(ort_models.run(ort_models.session(model), feeds), feeds, axes)


@pytest.mark.parametrize("as_float", [False, True], ids=["parameters in T", "in float"])
@pytest.mark.parametrize(
    "inputs",
    [op.INPUTS[:3], op.INPUTS[:4], op.INPUTS, ("X", "gamma", "beta", "", "epsilon")],
    ids=["no tau", "tau", "tau and epsilon", "epsilon"],
)
@pytest.mark.parametrize(("shape", "axes"), LAYOUTS)
def test_every_combination_of_inputs(rng, target, dtype, shape, axes, inputs, as_float):
    param_dtype = np.dtype(np.float32) if as_float else dtype
    feeds = feeds_for(rng, shape, axes, dtype, inputs, param_dtype)
    model = ort_models.frn_model(
        x=shape,
        axes=axes,
        channels=5,
        inputs=inputs,
        dtype=dtype.name,
        param_dtype=param_dtype.name,
    )
    check_feeds(ort_models.run(ort_models.session(model), feeds), feeds, axes)


def test_gamma_and_tau_of_different_types(rng):
    """Each parameter may be in T or in float, whatever the others are in."""
    model = ort_models.frn_model(x=(1, 2, 3, 4), axes=(2, 3), channels=2, dtype="float16")
    for value in model.graph.input:
        if value.name == "gamma":
            value.type.tensor_type.elem_type = ort_models.ELEMENT_TYPES["float32"]
    feeds = feeds_for(rng, (1, 2, 3, 4), (2, 3), DTYPES["float16"], op.INPUTS[:4], np.float16)
    feeds["gamma"] = feeds["gamma"].astype(np.float32)
    check_feeds(ort_models.session(model).run(None, feeds)[0], feeds, (2, 3))


def test_defaults_and_negative_axes(rng):
    shape, axes = (2, 3, 4, 5), (-1, -2)
    feeds = feeds_for(rng, shape, (2, 3), DTYPES["float32"], op.INPUTS[:3], np.float32)
    feeds["X"] *= np.float32(1e-3)  # so that epsilon counts
    model = ort_models.frn_model(x=shape, axes=axes, channels=3, inputs=op.INPUTS[:3], epsilon=None)
    y = ort_models.session(model).run(None, feeds)[0]
    check_feeds(y, feeds, (2, 3), epsilon=op.DEFAULT_EPSILON)


@pytest.mark.parametrize("x", [["N", 5, "H", "W"], ["N", "C", None, None], [None] * 4, None])
def test_shapes_known_only_at_run_time(rng, x):
    model = ort_models.frn_model(x=x, axes=(2, 3), channels=5)
    session = ort_models.session(model)
    for shape in [(2, 5, 6, 7), (1, 5, 9, 3), (0, 5, 2, 2), (3, 5, 1, 1)]:
        feeds = feeds_for(rng, shape, (2, 3), DTYPES["float32"], op.INPUTS[:4], np.float32)
        check_feeds(session.run(None, feeds)[0], feeds, (2, 3))


class TestShapeInference:
    @pytest.mark.parametrize("x", [["N", 5, "H", 7], [2, 5, None, None]])
    def test_dimensions_go_through(self, x):
        """Numbers and names as they are; a dimension without either gets a name of its own."""
        model = ort_models.frn_model(x=x, axes=(2, 3), channels=5, nodes=2)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        found = ort_models.session(model).get_outputs()[0].shape
        assert len(found) == 4
        assert [f for f, d in zip(found, x, strict=True) if d is not None] == [
            d for d in x if d is not None
        ]
        unnamed = [f for f, d in zip(found, x, strict=True) if d is None]
        assert len(set(unnamed)) == len(unnamed)
        assert all(isinstance(name, str) and name for name in unnamed)

    def test_transposes_around_frn_go(self, tmp_path):
        """ONNX Runtime moves Transposes past other ops only where it knows the shapes."""
        nodes = [
            helper.make_node("Transpose", ["A"], ["X"], perm=[0, 2, 3, 1]),
            helper.make_node("Transpose", ["Y"], ["B"], perm=[0, 3, 1, 2]),
            helper.make_node("Mul", ["B", "scale"], ["C"]),
            helper.make_node("Transpose", ["C"], ["D"], perm=[0, 2, 3, 1]),
            helper.make_node("Transpose", ["E"], ["F"], perm=[0, 3, 1, 2]),
        ]
        model = ort_models.frn_model(x=(2, 6, 7, 5), axes=(1, 2), channels=5)
        graph = model.graph
        first, second = graph.node[0], onnx.NodeProto()
        second.CopyFrom(first)
        second.name, second.input[0], second.output[0] = "second", "D", "E"
        chain = [nodes[0], first, *nodes[1:4], second, nodes[4]]
        chain = [onnx.NodeProto.FromString(node.SerializeToString()) for node in chain]
        del graph.node[:]
        graph.node.extend(chain)
        graph.input[0].CopyFrom(helper.make_tensor_value_info("A", 1, (2, 5, 6, 7)))
        graph.output[0].CopyFrom(helper.make_tensor_value_info("F", 1, (2, 5, 6, 7)))
        scale = np.arange(5, dtype=np.float32).reshape(5, 1, 1)
        graph.initializer.append(onnx.numpy_helper.from_array(scale, "scale"))
        path = tmp_path / "optimized.onnx"
        ort_models.session(model, optimized_model_filepath=str(path))
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        assert kinds == ["Transpose", op.OP_TYPE, "Mul", op.OP_TYPE, "Transpose"]


def test_concurrent_runs(rng, dtype):
    """One session, many callers, each with its own shape and answer."""
    model = ort_models.frn_model(x=["N", 9, "H", "W"], axes=(2, 3), channels=9, dtype=dtype.name)
    session = ort_models.session(model)
    every = [
        feeds_for(rng, (1 + i % 3, 9, 5 + i, 40 - i), (2, 3), dtype, op.INPUTS[:4], dtype)
        for i in range(24)
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda feeds: ort_models.run(session, feeds), every))
    for feeds, y in zip(every, results, strict=True):
        check_feeds(y, feeds, (2, 3))


def test_same_bits_as_the_function_on_arrays(rng, dtype, target):
    shape, axes = (2, 30, 31, 48), (1, 2)
    feeds = feeds_for(rng, shape, axes, dtype, op.INPUTS[:4], np.float32)
    model = ort_models.frn_model(
        x=shape, axes=axes, channels=48, dtype=dtype.name, param_dtype="float32"
    )
    y = ort_models.run(ort_models.session(model), feeds)
    direct = frn_onnx.frn(*feeds.values(), epsilon=float(np.float32(1e-3)), axes=axes)
    assert y.tobytes() == direct.tobytes()
