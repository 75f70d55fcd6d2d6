"""What has the outline of FRN and left the algebra is named, with the node or value at fault."""

import graph_models
import numpy as np
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params
from onnx import TensorProto, helper

from frn_onnx.graph.fusion import FuseResult, fuse

NCHW, NCW = LAYOUTS[0], LAYOUTS[2]
OVERRIDE = "an input of the graph, which the caller may override"


def only_skipped(result: FuseResult) -> tuple[str, tuple[str, ...]]:
    (skipped,) = result.skipped
    return skipped.reason, skipped.nodes


@pytest.mark.parametrize("squared", ["Mul", "Pow"])
def test_variance_and_squared_mean(graph, squared):
    """tf.nn.moments gives both; their sum is the mean square."""
    mean = graph.reduce("ReduceMean", graph.x, (2, 3))
    centred = graph("Sub", graph.x, mean)
    variance = graph.reduce("ReduceMean", graph("Mul", centred, centred), (2, 3))
    square = graph(squared, mean, mean if squared == "Mul" else graph.scalar(2))
    total = graph("Add", variance, square)
    graph.nu2 = lambda: total
    result = fuse(graph.model(graph.y()))
    assert result.fused == []
    reason, nodes = only_skipped(result)
    assert f"the proof that it is FRN ends at 'n/{centred}' (Sub)" in reason
    assert nodes[-1].startswith("n/Mul")
    assert f"n/{variance}" in nodes


def test_the_diagonal_of_all_products(rng):
    graph = Build(NCHW, Params.random(rng), static=True)
    rows = graph("Reshape", graph.x, graph.const(np.array([2, 3, 20])))
    products = graph("MatMul", rows, graph("Transpose", rows, perm=[0, 2, 1]))
    diagonal = graph("Mul", products, graph.const(np.eye(3, dtype=np.float32)))
    total = graph.reduce("ReduceSum", diagonal, (2,), keepdims=0)
    mean = graph("Unsqueeze", graph("Div", total, graph.scalar(20)), graph.const(np.array([2, 3])))
    graph.nu2 = lambda: mean
    reason, _ = only_skipped(fuse(graph.model(graph.y())))
    assert f"ends at 'n/{products}' (MatMul)" in reason


def test_a_mean_by_a_convolution(rng):
    graph = Build(NCW, Params.random(rng), static=True)
    kernel = graph.const(np.full((3, 1, 4), 0.25, np.float32))
    mean = graph("Conv", graph.square(), kernel, group=3)
    graph.nu2 = lambda: mean
    reason, _ = only_skipped(fuse(graph.model(graph.y())))
    assert f"ends at 'n/{mean}' (Conv)" in reason


def test_axes_that_are_an_input(graph):
    axes = graph.input("axes", [2], np.int64)
    mean = graph("ReduceMean", graph.square(), axes)
    graph.nu2 = lambda: mean
    reason, _ = only_skipped(fuse(graph.model(graph.y())))
    assert reason.startswith(f"an operand of 'n/{mean}' (ReduceMean) is 'axes', {OVERRIDE}")


@pytest.mark.parametrize("name", ["gamma", "beta", "tau"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_parameter_that_is_an_input(graph, name, moved):
    """FRN is fused up to there, and the rest stays, not without a word."""
    value = graph.input("given", [3] if moved else [3, 1, 1])
    if moved:
        value = graph("Reshape", value, graph.const(np.array([1, 3, 1, 1])))
    setattr(graph, name, value)
    result = fuse(graph.model(graph.y()))
    assert len(result.fused) == 1
    reason, nodes = only_skipped(result)
    assert reason.startswith(f"its {name} is 'given', {OVERRIDE}")
    assert set(nodes) <= {node.name for node in result.model.graph.node}


LOOP = """
<ir_version: 8, opset_import: ["": 17]>
loop (float[N,3,H,W] x) => (float[N,3,H,W] y)
<float[3,1,1] gamma, float epsilon>
{
  trips = Constant <value = int64 {3}> ()
  always = Constant <value = bool {1}> ()
  y, last = Loop (trips, always, x, gamma) <
    body = body (int64 i, bool on, float[N,3,H,W] u, float[3,1,1] g)
      => (bool goes_on, float[N,3,H,W] v, float[3,1,1] h) {
      goes_on = Identity (on)
      h = Neg (g)
      s = Mul (u, u)
      m = ReduceMean <axes = [2, 3]> (s)
      a = Add (m, epsilon)
      r = Sqrt (a)
      n = Div (u, r)
      v = Mul (g, n)
    }>
}
"""


def test_a_parameter_that_changes_from_turn_to_turn(rng):
    result = fuse(graph_models.parse(LOOP, rng))
    assert len(result.fused) == 1
    assert only_skipped(result)[0].startswith("its gamma is 'g', an input of the body of a Loop")


def test_gamma_in_the_small_tensor(graph):
    gamma = graph.input("given", [3, 1, 1])
    graph.normal = lambda: graph("Mul", graph.x, graph("Mul", graph.inverse(), gamma))
    graph.gamma = graph.const(np.ones((3, 1, 1), np.float32))
    result = fuse(graph.model(graph.y()))
    assert result.fused == []
    assert only_skipped(result)[0].startswith(f"its gamma is 'given', {OVERRIDE}")


@pytest.mark.parametrize("where", [False, True])
def test_a_threshold_that_is_an_input(graph, where):
    """As ``clamp(min=t)`` and ``where(y > t, y, t)`` have it."""
    tau, y = graph.input("given", [3, 1, 1] if where else []), graph.affine()
    clipped = graph("Where", graph("Greater", y, tau), y, tau) if where else graph("Clip", y, tau)
    result = fuse(graph.model(clipped))
    assert len(result.fused) == 1
    assert only_skipped(result)[0].startswith(f"its tau is 'given', {OVERRIDE}")


@pytest.mark.parametrize("op_type", ["Mul", "Div"])
def test_an_exponent_that_is_an_input(graph, op_type):
    exponent = graph.input("exponent", [])
    graph.normal = lambda: graph(op_type, graph.x, graph("Pow", graph.shifted(), exponent))
    result = fuse(graph.model(graph.y()))
    assert result.fused == []
    reason, nodes = only_skipped(result)
    assert f"(Pow) is 'exponent', {OVERRIDE}" in reason
    assert [node.split("/")[1].split("_")[0] for node in nodes[:2]] == ["Mul", "ReduceMean"]


def test_a_scale_of_what_is_squared_that_is_an_input(graph):
    scaled = graph("Mul", graph.x, graph.input("given", []))
    graph.square = lambda: graph("Mul", scaled, scaled)
    reason, _ = only_skipped(fuse(graph.model(graph.y())))
    assert reason.startswith(f"an operand of 'n/{scaled}' (Mul) is 'given', {OVERRIDE}")


@pytest.mark.parametrize("constant", [False, True])
def test_gamma_that_comes_first(graph, constant):
    """(gamma * x) * root: x meets the root scaled, which may be by what is not known."""
    gamma = graph.gamma if constant else graph.input("given", [3, 1, 1])
    inverse = graph.inverse
    if constant:
        logarithm = graph("Log", graph.shifted())
        inverse = lambda: graph("Exp", graph("Mul", logarithm, graph.scalar(-0.5)))  # noqa: E731
    scaled = graph("Mul", gamma, graph.x)
    result = fuse(graph.model(graph("Mul", scaled, inverse())))
    assert result.fused == []
    reason = f"ends at 'n/{logarithm}' (Log)" if constant else f"(Mul) is 'given', {OVERRIDE}"
    assert reason in only_skipped(result)[0]


@pytest.mark.parametrize("form", ["nodes", "operators"])
def test_a_root_that_is_quantised(graph, form):
    """As ONNX Runtime writes where it quantises products: integers between the root and x."""
    scale, zero = graph.scalar(0.1), graph.const(np.zeros((), np.uint8))
    quantised = graph("QuantizeLinear", graph.inverse(), scale, zero)
    if form == "nodes":
        y = graph("Mul", graph.x, graph("DequantizeLinear", quantised, scale, zero))
        model = graph.model(y)
    else:
        x = graph("QuantizeLinear", graph.x, scale, zero)
        args = (x, scale, zero, quantised, scale, zero, scale, zero)
        product = graph("QLinearMul", *args, domain="com.microsoft")
        y = graph("DequantizeLinear", product, scale, zero)
        model = graph.model(y, domains=["com.microsoft"])
    result = fuse(model)
    assert result.fused == []
    assert f"ends at 'n/{quantised}' (QuantizeLinear)" in only_skipped(result)[0]


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializers_that_are_inputs(rng, ir_version):
    """Up to IR version 3 they had to be; since then a caller may override them."""
    graph = Build(NCHW, Params.random(rng), opset=8)
    graph.ir_version = 8
    model = graph.model(graph.y())
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    model.ir_version = ir_version
    onnx.checker.check_model(model)
    result = fuse(model, form="custom")
    if ir_version == 3:
        assert (len(result.fused), result.skipped) == (1, [])
    else:
        assert result.fused == []
        epsilon = next(node.input[1] for node in model.graph.node if node.op_type == "Add")
        expected = f"what is added to the mean square is not a constant: {epsilon!r}"
        assert only_skipped(result)[0] == expected


@pytest.mark.parametrize("wide", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_the_mean_is_that_of_x_rounded(graph, wide):
    """What float16 loses of x before the square is lost in y alone where x is rounded, too."""
    x = graph.x
    graph.x = graph("Cast", graph("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT)
    root = graph("Sqrt", graph("Add", graph.nu2(), graph.scalar(0.1)))
    y = graph("Div", graph("Cast", x, to=wide), graph("Cast", root, to=wide))
    result = fuse(graph.model(y))
    assert result.fused == []
    assert "which is 'x' rounded to float16, and 'x' itself" in only_skipped(result)[0]


def test_x_is_rounded_twice(graph):
    """onnxconverter-common puts a Cast of its own before each node that keeps its type."""
    x = graph.x
    graph.x = graph("Cast", x, to=TensorProto.FLOAT16)
    half = graph.const(np.float16(0.1))
    root = graph("Sqrt", graph("Add", graph.nu2(), half))
    y = graph("Div", graph("Cast", x, to=TensorProto.FLOAT16), root)
    reason, _ = only_skipped(fuse(graph.model(graph("Cast", y, to=TensorProto.FLOAT))))
    assert "and what is divided by its root is 'x' rounded by another Cast" in reason


def test_a_scale_that_onnx_runtime_took_for_a_convolution_in_blocks(rng):
    text = graph_models.BLOCKED.replace("Div (x, root)", "Div (scaled, root)")
    result = fuse(graph_models.parse(text, rng))
    assert result.fused == []
    reason, nodes = only_skipped(result)
    assert "fuse the file that it was made from" in reason
    assert nodes[-1] == "y"


def test_where_the_shape_of_everything_is_asked_for(graph):
    """As JAX does, to broadcast."""
    root = graph("Exp", graph("Mul", graph("Log", graph.shifted()), graph.scalar(-0.5)))
    sized = graph("Expand", root, graph("Shape", root))
    result = fuse(graph.model(graph("Mul", graph.x, sized)))
    assert "(Log)" in only_skipped(result)[0]


class TestSilence:
    """What plainly is another layer has no outline of FRN."""

    def test_layer_normalisation(self, rng):
        graph = Build(NCW, Params.random(rng))
        graph.inputs.clear()
        graph.input("x", ["N", 3, 8])
        centred = graph("Sub", graph.x, graph.reduce("ReduceMean", graph.x, (2,)))
        variance = graph.reduce("ReduceMean", graph("Mul", centred, centred), (2,))
        root = graph("Sqrt", graph("Add", variance, graph.scalar(0.1)))
        scale = graph.const(rng.normal(size=8).astype(np.float32))
        y = graph("Mul", graph("Div", centred, root), scale)
        assert fuse(graph.model(y)).skipped == []

    def test_a_distance(self, graph):
        """A root of a sum of squares that divides nothing."""
        total = graph.reduce("ReduceSum", graph.square(), (1, 2, 3))
        assert fuse(graph.model(graph("Sqrt", total))).skipped == []

    def test_another_tensor_is_divided(self, graph):
        other = graph.input("other", NCHW.dynamic)
        root = graph("Sqrt", graph("Add", graph.nu2(), graph.scalar(0.1)))
        assert fuse(graph.model(graph("Div", other, root))).skipped == []

    def test_film(self, graph):
        """A scale for each sample and channel is no gamma."""
        scale = graph.input("scale", ["N", 3, 1, 1])
        graph.gamma = scale
        result = fuse(graph.model(graph.y()))
        assert (len(result.fused), result.skipped) == (1, [])
