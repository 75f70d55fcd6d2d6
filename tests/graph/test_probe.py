"""A matcher with a guard missing writes nothing false: each match is tried on numbers first."""

import logging

import graph_models
import numpy as np
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Net, Params
from onnx import TensorProto, numpy_helper

import frn_onnx
from frn_onnx.cli import main
from frn_onnx.graph import convert, fuse, lower
from frn_onnx.graph.fuse_file import fuse_file
from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher import rules, rules_statistic, trace
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.probe import Prober

NCHW, NHWC, NCW = LAYOUTS[0], LAYOUTS[1], LAYOUTS[2]
FAULT = "a fault of the matcher"


def built(rng, layout=NCHW, *, sizes=None) -> Build:
    """FRN of x, with sizes that are open where none are given."""
    graph = Build(layout, Params.random(rng))
    if sizes is not None:
        graph.inputs.clear()
        graph.input("x", sizes)
    return graph


def replace_rule(monkeypatch, op_type: str, rule) -> None:
    monkeypatch.setitem(rules._RULES, op_type, rule)


# Each takes a guard away, and builds a graph that is then taken for FRN.


def an_axis_twice(monkeypatch, rng):
    monkeypatch.setattr(Frame, "broadcast", lambda self, a, b: max(a, b, key=len))
    graph = built(rng, NCW)
    columns = graph("Unsqueeze", graph.x, graph.const(np.array([3])))
    rows = graph("Unsqueeze", graph.x, graph.const(np.array([2])))
    mean = graph.reduce("ReduceMean", graph("Mul", rows, columns), (2, 3), keepdims=0)
    graph.nu2 = lambda: graph("Unsqueeze", mean, graph.const(np.array([2])))
    return graph.model(graph.y())


def swapped_axes(monkeypatch, rng):
    """Which runs where H and W are equal only; nothing says that they are."""
    monkeypatch.setattr(Frame, "broadcast", lambda self, a, b: max(a, b, key=len))
    graph = built(rng)
    turned = graph("Transpose", graph.x, perm=[0, 1, 3, 2])
    graph.square = lambda: graph("Mul", graph.x, turned)
    return graph.model(graph.y())


def unequal_epsilons(monkeypatch, rng):
    monkeypatch.setattr(fm, "_equal", lambda a, b: True)
    graph = built(rng)
    roots = [
        graph("Pow", graph("Add", graph.nu2(), graph.scalar(e)), graph.scalar(-0.25))
        for e in (1e-5, 2e-5)
    ]
    graph.inverse = lambda: graph("Mul", *roots)
    return graph.model(graph.y())


def mean_of_all_samples(monkeypatch, rng):
    monkeypatch.setattr(fm, "statistic_flaw", lambda frame, form: None)
    graph = built(rng)
    graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), (0, 2, 3))
    return graph.model(graph.y())


def mean_of_x(monkeypatch, rng):
    monkeypatch.setattr(fm, "statistic_flaw", lambda frame, form: None)
    graph = built(rng)
    graph.square = lambda: graph.x
    return graph.model(graph.y())


def axes_read_wrongly(monkeypatch, rng):
    """A constant that varies along W, where W is as large as C."""

    def per_channel(self, array, axes):
        return array.reshape(() if array.size == 1 else -1)

    monkeypatch.setattr(Frame, "per_channel", per_channel)
    graph = built(rng, sizes=["N", 3, "H", 3])
    graph.gamma = graph.const(graph.params.gamma.reshape(1, 1, 1, 3))
    return graph.model(graph.y())


def reduction_read_wrongly(monkeypatch, rng):
    for module in (rules_statistic, trace):
        monkeypatch.setattr(module, "reduced_positions", lambda *args: (2, 3))
    graph = built(rng)
    graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), (1, 2))
    return graph.model(graph.y())


def floor_ignored(monkeypatch, rng):
    monkeypatch.setattr(Form, "floor", lambda self: np.asarray(np.inf))
    graph = built(rng)
    shifted = graph.shifted
    graph.shifted = lambda: graph("Max", shifted(), graph.scalar(0.5))
    return graph.model(graph.y())


def magnitude_for_x(monkeypatch, rng):
    replace_rule(monkeypatch, "Abs", lambda context, node, args: args[0])
    graph = built(rng)
    normal = graph.normal
    graph.normal = lambda: graph("Abs", normal())
    return graph.model(graph.y())


def cast_to_integers(monkeypatch, rng):
    replace_rule(monkeypatch, "Cast", lambda context, node, args: args[0])
    graph = built(rng)
    whole = graph("Cast", graph.affine(), to=TensorProto.INT32)
    back = graph("Cast", whole, to=TensorProto.FLOAT)
    return graph.model(graph("Max", back, graph.tau))


def upper_bound_ignored(monkeypatch, rng):
    def clip(context, node, args):
        return rules.ELEMENTWISE["Max"](context, node, args[:2])

    replace_rule(monkeypatch, "Clip", clip)
    graph = built(rng)
    graph.gamma = graph.const(np.array([1.2, 0.9, 1.0], np.float32).reshape(3, 1, 1))
    return graph.model(graph("Clip", graph.affine(), graph.scalar(-0.5), graph.scalar(6)))


def minimum_for_maximum(monkeypatch, rng):
    def negate(context, node, args):
        form = args[0]
        bound = None if form.threshold is None else -form.threshold
        return form.but(scale=-form.scale, offset=-form.offset, threshold=bound)

    replace_rule(monkeypatch, "Neg", negate)
    graph = built(rng)
    return graph.model(graph("Neg", graph.y()))


GUARDS = [
    an_axis_twice,
    swapped_axes,
    unequal_epsilons,
    mean_of_all_samples,
    mean_of_x,
    axes_read_wrongly,
    reduction_read_wrongly,
    floor_ignored,
    magnitude_for_x,
    cast_to_integers,
    upper_bound_ignored,
    minimum_for_maximum,
]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_a_guard_that_is_missing(guard, monkeypatch, rng, caplog):
    model = guard(monkeypatch, rng)
    with monkeypatch.context() as patch:
        patch.setattr(Prober, "tried", lambda self, match: match)
        assert len(fuse(model).fused) == 1, "the guard is still there"
    result = fuse(model, form="primitives")
    assert result.fused == []
    (skipped,) = result.skipped
    assert FAULT in skipped.reason
    assert set(skipped.nodes) <= {node.name for node in model.graph.node}
    assert [n.op_type for n in result.model.graph.node] == [n.op_type for n in model.graph.node]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {record.name for record in errors} == {"frn_onnx.graph"}
    assert FAULT in errors[0].getMessage()
    assert skipped.nodes[-1] in errors[0].getMessage()


@pytest.mark.parametrize("way", ["lower", "convert", "fuse_file", "cli"])
@pytest.mark.parametrize("guard", [an_axis_twice, axes_read_wrongly])
def test_no_way_in_goes_round_it(guard, way, monkeypatch, rng, tmp_path):
    model = guard(monkeypatch, rng)
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model, source)
    if way == "lower":
        with pytest.warns(frn_onnx.errors.FrnWarning, match="no FRN was found"):
            written = [lower(source, "portable")]
    elif way == "cli":
        main(["lower", str(source), "-o", str(target), "--form", "custom"])
        written = [onnx.load(target)]
        main(["fuse", str(source), "-o", str(target), "--no-verify"])
        written.append(onnx.load(target))
        main(["convert", str(source), "-o", str(target), "--to", "bfloat16"])
        written.append(onnx.load(target))
    elif way == "convert":
        written = [convert(source)]
    else:
        assert fuse_file(source, target, compare=False).result.fused == []
        written = [onnx.load(target)]
    for made in written:
        assert "FilterResponseNormalization" not in [n.op_type for n in made.graph.node]
    if way == "fuse_file":
        dims = [d.dim_value or 4 + i for i, d in enumerate(_shape(model))]
        x = rng.normal(0.3, 1, dims).astype(np.float32)
        before, after = (graph_models.run(m, {"x": x})[0] for m in (model, written[0]))
        np.testing.assert_array_equal(before, after)


def _shape(model):
    return model.graph.input[0].type.tensor_type.shape.dim


class TestWhatIsTried:
    """Right matches hold, whatever the sizes and types; the log is silent."""

    @pytest.fixture(autouse=True)
    def silent(self, caplog):
        with caplog.at_level(logging.DEBUG, "frn_onnx.graph"):
            yield
        assert caplog.get_records("call") == []

    @pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
    @pytest.mark.parametrize("static", [True, False])
    def test_layouts(self, layout, static, rng):
        graph = Build(layout, Params.random(rng), static=static)
        assert len(fuse(graph.model(graph.y())).fused) == 1

    def test_sizes_that_are_stated_and_large(self, rng):
        graph = built(rng, sizes=[8, 3, 512, 512])
        assert len(fuse(graph.model(graph.y())).fused) == 1

    def test_large_sizes_that_constants_depend_on(self, rng):
        graph = built(rng, sizes=[8, 3, 224, 160])
        total = graph.reduce("ReduceSum", graph.square(), (2, 3))
        graph.nu2 = lambda: graph("Mul", total, graph.scalar(1 / (224 * 160)))
        assert len(fuse(graph.model(graph.y())).fused) == 1

    @pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
    def test_half_precision_is_compared_as_a_function(self, kind, rng):
        """The square of 300 is infinite in float16, which is rounding and no other function."""
        graph = built(rng)
        graph.inputs.clear()
        graph.input("half", NCHW.dynamic, np.float16)
        graph.x = graph("Cast", graph("Cast", "half", to=kind), to=TensorProto.FLOAT)
        assert len(fuse(graph.model(graph.y())).fused) == 1

    def test_sizes_that_constants_have_behind_a_transpose(self):
        """The scale of a plane of 5 by 1, of which all values are 1."""
        model = onnx.parser.parse_model(
            """
            <ir_version: 11, opset_import: ["": 23]>
            g (float[N,A,B,C] x) => (float[N,B,C,A] y)
            <float[5,1] scale = {1, 1, 1, 1, 1}, float[4,1,1] gamma = {1, 2, 3, 4}>
            {
              t = Transpose <perm = [0, 2, 3, 1]> (x)
              n = RMSNormalization <axis = 2> (t, scale)
              y = Mul (n, gamma)
            }
            """
        )
        assert len(fuse(model).fused) == 1

    def test_one_plane(self, rng):
        graph = built(rng, sizes=[1, 3, 1, 1])
        assert len(fuse(graph.model(graph.y())).fused) == 1


@pytest.mark.parametrize("what", ["probe.in_float64", "evaluator.Evaluator.run"])
def test_what_cannot_be_tried_is_fused_all_the_same(rng, what, monkeypatch, caplog):
    def fails(*args, **kwargs):
        raise NotImplementedError("no such op")

    monkeypatch.setattr(f"frn_onnx.graph.{what}", fails)
    graph = Net(18), Build(NCHW, Params.random(rng))
    with caplog.at_level(logging.DEBUG, "frn_onnx.graph"):
        assert len(fuse(graph[1].model(graph[1].y())).fused) == 1
    (record,) = caplog.records
    assert "not tried on numbers: NotImplementedError: no such op" in record.getMessage()


def test_what_is_too_large_to_be_tried_is_fused_all_the_same(caplog):
    """It is FRN at its own size alone, which no other number of samples is to multiply."""
    height, width = 2048, 2049
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[1,2,{height},{width}] x) => (float[1,2,{height},{width}] y)
        <int64[2] axes = {{2, 3}}, float share = {{0}}, float c = {{0.3}},
         float[2,1,1] gamma = {{2, -1}}>
        {{
          q = Mul (x, x) r = ReduceSum (q, axes) m = Mul (r, share) e = Add (m, c) s = Sqrt (e)
          d = Div (x, s) y = Mul (d, gamma)
        }}"""
    )
    share = numpy_helper.from_array(np.float32(1 / (height * width)), "share")
    model.graph.initializer[1].CopyFrom(share)
    with caplog.at_level(logging.DEBUG, "frn_onnx.graph"):
        assert len(fuse(model).fused) == 1
    assert "not tried on numbers: x of shape (1, 2, 2048, 2049) is too large" in caplog.text


def test_layers_of_one_kind_share_an_evaluator(rng, monkeypatch):
    from frn_onnx.graph import probe

    made = []
    evaluator = probe.in_float64
    monkeypatch.setattr(probe, "in_float64", lambda *nodes: made.append(nodes) or evaluator(*nodes))
    graph = built(rng)
    for _ in range(3):
        graph.x = graph("Tanh", graph.y())
    assert len(fuse(graph.model(graph.x)).fused) == 3
    assert len(made) == 1


@pytest.mark.parametrize(
    "text",
    [
        # ONNX's own evaluator counts axes from an end that is not there yet.
        """<ir_version: 8, opset_import: ["": 11]>
        g (float[N,2,H,W] x) => (float[N,2,H,W] y) <float c = {0.3}, float[2,1,1] gamma = {2, -1}>
        {
          q = Mul (x, x) r = ReduceMean <axes = [-2, 3], keepdims = 0> (q)
          m = Unsqueeze <axes = [-2, 3]> (r) e = Add (m, c) s = Sqrt (e) d = Div (x, s)
          y = Mul (d, gamma)
        }""",
        # 0.6 / 15 is no float16, and what a graph computes of sizes is known exactly.
        """<ir_version: 8, opset_import: ["": 13]>
        g (float16[2,3,5,4] x) => (float16[2,3,5,4] y)
        <float c0 = {0.6}, float[4] g0 = {2, -1, 3, 1}, int64 three = {1}, int64 five = {2}>
        {
          c = Cast <to = 10> (c0) gamma = Cast <to = 10> (g0)
          r = ReduceL2 <axes = [1, -2]> (x) q = Mul (r, r) sh = Shape (x) a = Gather (sh, three)
          b = Gather (sh, five) ab = Mul (a, b) n = Cast <to = 10> (ab) v = Div (c, n)
          e = Add (q, v) s = Sqrt (e) d = Div (x, s) y = Mul (d, gamma)
        }""",
        # Constants, in half precision (0.3; 2 and -1) and in float32, made as large as a tensor.
        """<ir_version: 8, opset_import: ["": 13]>
        g (float16[N,2,H,W] x) => (float16[N,2,H,W] y) <float16[2,1,1] gamma = {16384, 48128}>
        {
          q = Mul (x, x) r = ReduceMean <axes = [2, 3]> (q) sh = Shape (r)
          c = ConstantOfShape <value = float16[1] {13517}> (sh) e = Add (r, c) s = Sqrt (e)
          d = Div (x, s) y = Mul (d, gamma)
        }""",
        """<ir_version: 8, opset_import: ["": 13]>
        g (float[N,2,H,W] x) => (float[N,2,H,W] y) <float c = {0.3}, float[2,1,1] gamma = {2, -1}>
        {
          q = Mul (x, x) r = ReduceMean <axes = [2, 3]> (q) e = Add (r, c) s = Sqrt (e)
          d = Div (x, s) z = Mul (d, gamma) sh = Shape (z) zero = ConstantOfShape (sh)
          y = Add (z, zero)
        }""",
    ],
)
def test_what_is_frn_is_tried_and_not_refused(text, caplog):
    model = onnx.parser.parse_model(text)
    with caplog.at_level(logging.DEBUG, "frn_onnx.graph"):
        assert len(fuse(model).fused) == 1
    assert FAULT not in caplog.text
    assert "not tried" not in caplog.text
