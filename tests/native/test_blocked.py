"""The ops for ONNX Runtime's blocked layout, in sessions of one node."""

import numpy as np
import onnxruntime as ort
import ort_models
import pytest
from native_cases import (
    check,
    from_blocked,
    make_params,
    make_residual,
    make_x,
    rounded,
    to_blocked,
)
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "frn_onnx.internal"
WAYS = ["BlockedFrn", "to_blocked", "from_blocked"]
# (N, C, H, W): channels that fill blocks or do not, maps around vectors and tiles of them, units
# that one task takes and, last, units that all share.
SHAPES = [
    (2, 16, 7, 7),
    (1, 24, 1, 1),
    (3, 13, 3, 5),
    (2, 40, 8, 8),
    (1, 3, 1, 2),
    (1, 33, 11, 12),
    (2, 32, 16, 24),
    (1, 17, 56, 57),
    (1, 8, 300, 301),
    (1, 20, 150, 151),
    (0, 16, 4, 4),
    (2, 16, 0, 4),
]
PARAMETERS = ("gamma", "beta", "tau", "epsilon")


def model_of(feeds, way, block, channels, *, constant=(), dynamic=False, **changes):
    """A node whose inputs are those of ``feeds``; ``constant`` ones are initializers."""
    attributes = {"block": block, "epsilon": 1e-3}
    if way != "BlockedFrn":
        attributes |= {"from_blocked": 0, "to_blocked": 0, way: 1, "channels": channels}
    attributes = {k: v for k, v in {**attributes, **changes}.items() if v is not None}
    names = ["X", *PARAMETERS, "residual"]
    inputs = [name if name in feeds else "" for name in names]
    op_type = "BlockedFrn" if way == "BlockedFrn" else "ReorderingFrn"
    node = helper.make_node(op_type, inputs, ["Y"], name="frn_Y", domain=DOMAIN, **attributes)

    def info(name):
        shape = feeds[name].shape
        if dynamic:
            shape = [f"{name}{i}" for i in range(len(shape))]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [node],
        "blocked",
        [info(name) for name in feeds if name not in constant],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(feeds[name], name) for name in constant],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def values_of(rng, shape, with_=()):
    """X, parameters and what else is asked for, as planes."""
    channels = shape[1]
    gamma, beta, tau = make_params(rng, channels, np.float32)
    values = {"X": make_x(rng, shape, np.float32), "gamma": gamma, "beta": beta}
    if "tau" in with_:
        values["tau"] = tau
    if "epsilon" in with_:
        values["epsilon"] = np.linspace(0.2, 1.5, channels, dtype=np.float32)
    if "residual" in with_:
        values["residual"] = make_residual(rng, shape, np.float32)
    return values


def feeds_of(values, way, block):
    """As the node gets them."""
    feeds = dict(values)
    if way != "to_blocked":
        feeds["X"] = to_blocked(values["X"], block)
    if "residual" in values and way != "from_blocked":
        feeds["residual"] = to_blocked(values["residual"], block)
    return feeds


def run(values, way, block, *, threads=2, constant=PARAMETERS, **options):
    feeds = feeds_of(values, way, block)
    constant = [name for name in constant if name in feeds]
    channels = values["X"].shape[1]
    model = model_of(feeds, way, block, channels, constant=constant, **options)
    given = {name: value for name, value in feeds.items() if name not in constant}
    return ort_models.session(model, threads=threads).run(None, given)[0]


def planes_of(y, way, block, channels):
    """y as planes, once its filling has been looked at."""
    if way == "from_blocked":
        assert y.shape[1] == channels
        return y
    assert y.shape[1] == rounded(channels, block)
    y = from_blocked(y, block)
    assert (y[:, channels:] == 0).all()
    return np.ascontiguousarray(y[:, :channels])


def run_and_check(values, way, block, *, epsilon=1e-3):
    y = run(values, way, block, epsilon=epsilon)
    y = planes_of(y, way, block, values["X"].shape[1])
    check(
        y,
        values["X"],
        values["gamma"].reshape(-1),
        values["beta"].reshape(-1),
        values.get("tau"),
        values.get("residual"),
        epsilon=values.get("epsilon", np.float32(epsilon)),
        axes=(2, 3),
    )
    return y


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture(params=[8, 16])
def block(request):
    return request.param


@pytest.mark.parametrize("with_", [("tau",), ("tau", "residual")], ids=["tau", "residual"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(target, rng, way, block, shape, with_):
    run_and_check(values_of(rng, shape, with_), way, block)


@pytest.mark.parametrize(
    "with_",
    [(), ("epsilon",), ("residual",), ("tau", "epsilon"), ("epsilon", "residual")],
    ids=str,
)
@pytest.mark.parametrize("constant", [PARAMETERS, (), ("gamma",)], ids=str)
def test_every_combination_of_inputs(target, rng, way, block, with_, constant):
    values = values_of(rng, (2, 13, 5, 7), with_)
    expected = run_and_check(values, way, block)
    y = run(values, way, block, constant=constant)
    assert planes_of(y, way, block, 13).tobytes() == expected.tobytes()


def test_shapes_of_parameters(rng, way, block):
    values = values_of(rng, (1, 13, 5, 7))
    expected = run(values, way, block)
    values |= {name: values[name].reshape(-1, 1, 1) for name in ("gamma", "beta")}
    assert run(values, way, block).tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", SHAPES[:-2], ids=str)
def test_same_bits_for_every_number_of_threads(target, rng, way, block, shape):
    values = values_of(rng, shape, ("tau", "residual"))
    assert len({run(values, way, block, threads=n).tobytes() for n in (1, 2, 5)}) == 1


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e25, 2e38])
@pytest.mark.parametrize("shape", [(2, 13, 5, 7), (1, 8, 150, 301), (3, 20, 1, 1)], ids=str)
def test_extremes(target, rng, way, block, shape, scale):
    """Squares that are no floats, in every second channel; NaN fills its plane alone."""
    values = values_of(rng, shape, ("residual",))
    x = (rng.uniform(0.5, 1.6, shape) * scale).astype(np.float32)
    values["X"][:, ::2] = x[:, ::2]
    run_and_check(values, way, block, epsilon=0.0)
    values["X"][0, 1, 0, 0] = np.nan
    run_and_check(values, way, block, epsilon=0.0)
    values["residual"][-1, 0, 0, 0] = np.nan
    run_and_check(values, way, block, epsilon=0.0)
    values["gamma"] *= np.float32(1e-36)  # whose scale is two numbers
    values["X"] = x
    run_and_check(values, way, block, epsilon=0.0)


def test_what_fills_up_is_left_out(rng, block):
    """A convolution with a bias leaves there what it likes; y's planes do not see it."""
    values = values_of(rng, (2, 13, 5, 7), ("tau",))
    feeds = feeds_of(values, "from_blocked", block)
    expected = run(values, "from_blocked", block)
    feeds["X"] = to_blocked(values["X"], block, fill=3.0)
    model = model_of(feeds, "from_blocked", block, 13)
    assert ort_models.session(model).run(None, feeds)[0].tobytes() == expected.tobytes()


def test_in_place(rng, block):
    """Y over X, and over the residual, where ONNX Runtime may: the bits are the same."""
    values = values_of(rng, (2, 13, 5, 7), ("tau", "residual"))
    feeds = feeds_of(values, "BlockedFrn", block)
    apart = run(values, "BlockedFrn", block)
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for over in ("X", "residual"):
        model = model_of(feeds, "BlockedFrn", block, 13)
        node = model.graph.node[0]
        place = list(node.input).index(over)
        node.input[place] = "own"
        double = helper.make_node("Mul", [over, "one"], ["own"])
        last = helper.make_node("Mul", ["Y", "one"], ["Z"])
        model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
        model.graph.node.insert(0, double)
        model.graph.node.append(last)
        model.graph.output[0].name = "Z"
        info = helper.make_tensor_value_info("Y", TensorProto.FLOAT, feeds["X"].shape)
        model.graph.value_info.append(info)
        y = ort_models.session(model, graph_optimization_level=level).run(None, feeds)
        assert y[0].tobytes() == apart.tobytes()


class TestRefused:
    shape = (2, 13, 5, 7)

    def refused(self, rng, way, pattern, *, block=8, channels=13, constant=PARAMETERS, **changes):
        values = values_of(rng, self.shape, ("residual",))
        feeds = feeds_of(values, way, 8)
        feeds |= {name: changes.pop(name) for name in list(changes) if name in feeds}
        constant = [name for name in constant if name in feeds]
        model = model_of(feeds, way, block, channels, constant=constant, dynamic=True, **changes)
        given = {name: value for name, value in feeds.items() if name not in constant}
        with pytest.raises(Exception, match=pattern):
            ort_models.session(model).run(None, given)

    def test_block(self, rng, way):
        self.refused(rng, way, "block must be 8 or 16, received 4", block=4)
        self.refused(rng, way, r"the attribute block \(int\) is missing", block=None)

    @pytest.mark.parametrize(("from_blocked", "to_blocked"), [(1, 1), (0, 0), (2, 1)])
    def test_layouts(self, rng, from_blocked, to_blocked):
        changes = {"from_blocked": from_blocked, "to_blocked": to_blocked}
        pattern = f"exactly one of .* received {from_blocked} and {to_blocked}"
        self.refused(rng, "to_blocked", pattern, **changes)

    def test_channels(self, rng, way):
        one = np.ones(12, np.float32)
        self.refused(rng, way, r"beta must have shape \(13,\) or \(13, 1, 1\).*\(12,\)", beta=one)
        self.refused(rng, way, r"\(13,\).*\(12,\)", beta=one, constant=())
        if way != "BlockedFrn":
            self.refused(rng, way, r"gamma must have shape \(12,\).*\(13,\)", channels=12)

    def test_x(self, rng, way):
        right = "13" if way == "to_blocked" else "16"
        pattern = rf"X must have shape \(\?, {right}, \?, \?\), received \(2, 24, 5, 7\)"
        self.refused(rng, way, pattern, X=np.ones((2, 24, 5, 7), np.float32))
        self.refused(rng, way, "X must have shape", X=np.ones((2, 16, 5), np.float32))

    def test_residual(self, rng, way):
        right = "13" if way == "from_blocked" else "16"
        pattern = rf"residual must have shape \(2, {right}, 5, 7\), received \(2, 16, 5, 1\)"
        self.refused(rng, way, pattern, residual=np.ones((2, 16, 5, 1), np.float32))
