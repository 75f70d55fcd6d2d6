"""What is around an FRN: other consumers, outputs, names, types."""

import graph_models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tolerances
from fuse_builds import Build
from fuse_models import (
    LAYOUTS,
    Params,
    assert_fused,
    bound,
    data,
    expected,
    frn_nodes,
    node_parameters,
    op_types,
)
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.fusion import fuse, fuse_in_place
from frn_onnx.graph.matcher import trace

NCHW, NHWC = LAYOUTS[0], LAYOUTS[1]
FRN = op.OP_TYPE


def assert_same_outputs(model: onnx.ModelProto, x: np.ndarray, params: Params, **feeds) -> None:
    """The fused model gives what the model gave, output by output."""
    fused = fuse(model).model
    onnx.checker.check_model(fused, full_check=True)
    before = graph_models.run(model, {"x": x, **feeds})
    after = graph_models.run(fused, {"x": x, **feeds})
    limit = 2 * bound(x, params, NCHW, roundings=8).max()
    for a, b in zip(before, after, strict=True):
        tolerances.assert_within(b, a, limit)


class TestOtherConsumers:
    """Fused is what nobody else needs; what others need stays alive."""

    def test_statistic_is_an_output(self, graph, params, rng):
        inverse = graph.inverse()
        graph.inverse = lambda: inverse
        model = graph.model(graph.y(), inverse)
        result = fuse(model, form="custom")
        assert op_types(result.model) == ["Mul", "ReduceMean", "Add", "Sqrt", "Reciprocal", FRN]
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_square_has_another_consumer(self, graph, params, rng):
        square = graph.square()
        graph.square = lambda: square
        model = graph.model(graph.y(), graph("Exp", graph("Neg", square)))
        assert sorted(op_types(fuse(model, form="custom").model)) == sorted(
            [FRN, "Mul", "Neg", "Exp"]
        )
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_normal_is_an_output(self, graph, params, rng):
        """Then it is what is fused, and gamma, beta and tau stay outside."""
        normal = graph.normal()
        graph.normal = lambda: normal
        model = graph.model(graph.y(), normal)
        result = fuse(model, form="custom")
        assert op_types(result.model) == [FRN, "Mul", "Add", "Max"]
        assert [o.name for o in result.model.graph.output] == [o.name for o in model.graph.output]
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_affine_has_another_consumer(self, graph, params, rng):
        affine = graph.affine()
        graph.affine = lambda: affine
        model = graph.model(graph.y(), graph("Tanh", affine))
        assert op_types(fuse(model, form="custom").model) == [FRN, "Max", "Tanh"]
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_comparison_has_another_consumer(self, graph, params, rng):
        affine = graph.affine()
        greater = graph("Greater", affine, graph.tau)
        model = graph.model(graph("Where", greater, affine, graph.tau), greater)
        assert op_types(fuse(model, form="custom").model) == [FRN, "Greater", "Where"]
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_input_is_used_elsewhere(self, graph, params, rng):
        model = graph.model(graph("Add", graph.x, graph.y()))
        assert op_types(fuse(model, form="custom").model) == [FRN, "Add"]
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_two_layers_share_a_statistic(self, graph, params, rng):
        """Each becomes a node of its own, with its own parameters."""
        normal_of = graph.inverse()
        graph.inverse = lambda: normal_of
        first = graph.y()
        other = Params.random(rng)
        graph.gamma, graph.beta, graph.tau = (
            graph.const(NCHW.param(v)) for v in (other.gamma, other.beta, other.tau)
        )
        model = graph.model(first, graph.y())
        result = fuse(model)
        x = data(rng, NCHW)
        for y, p in zip(graph_models.run(result.model, {"x": x}), (params, other), strict=True):
            tolerances.assert_within(y, expected(x, p, NCHW), bound(x, p, NCHW))

    def test_shared_parameters_stay(self, graph, params, rng):
        model = graph.model(graph.y(), graph("Neg", graph.gamma))
        result = fuse(model, form="custom")
        assert "gamma" in {t.name for t in result.model.graph.initializer}
        assert "beta" not in {t.name for t in result.model.graph.initializer}
        assert_same_outputs(model, data(rng, NCHW), params)

    def test_unused_nodes_of_others_stay(self, graph):
        graph("Exp", graph.x)
        assert op_types(fuse(graph.model(graph.y()), form="custom").model) == ["Exp", FRN]

    @pytest.mark.parametrize("first", ["FRN", "other"])
    def test_another_norm_of_the_same_square_is_added(self, graph, params, rng, first):
        """The other one, over the channels, says what it is; the sum is neither."""
        square = graph.square()
        graph.square = lambda: square
        if first == "FRN":
            y = graph.normal()
        mean = graph.reduce("ReduceMean", square, (1,))
        other = graph(
            "Div", graph.x, graph("Sqrt", graph("Add", mean, graph.scalar(params.epsilon)))
        )
        if first == "other":
            y = graph.normal()
        model = graph.model(graph("Add", y, other))
        result = fuse(model, form="custom")
        assert [fused.axes for fused in result.fused] == [(2, 3)]
        (skipped,) = result.skipped
        assert skipped.reason.startswith("its mean runs over axes (1,) of x only")
        assert_same_outputs(model, data(rng, NCHW), params)


class TestChains:
    def test_frn_of_frn(self, graph, params, rng):
        graph.x = graph.y()
        model = graph.model(graph.y())
        result = fuse(model)
        assert op_types(result.model) == [FRN, FRN]
        x = data(rng, NCHW)
        between = expected(x, params, NCHW).astype(np.float32)
        (y,) = graph_models.run(result.model, {"x": x})
        # An error of the first goes through the second at most amplified by |gamma| / sqrt(eps).
        gain = np.abs(params.gamma).max() / np.sqrt(params.epsilon)
        limit = 2 * gain * bound(x, params, NCHW).max() + bound(between, params, NCHW)
        tolerances.assert_within(y, expected(between, params, NCHW), limit)

    def test_many_layers(self, rng, params):
        graph = Build(NCHW, params)
        for _ in range(20):
            kernel = graph.const(rng.normal(size=(3, 3, 3, 3)).astype(np.float32) * 0.2)
            graph.x = graph("Conv", graph.y(), kernel, pads=[1, 1, 1, 1])
        result = fuse(graph.model(graph.x), form="custom")
        assert op_types(result.model) == [FRN, "Conv"] * 20
        assert len({f.name for f in result.fused}) == 20

    def test_fusing_twice_changes_nothing(self, graph):
        once = fuse(graph.model(graph.y()))
        twice = fuse(once.model)
        assert twice.fused == []
        assert twice.model == once.model

    @pytest.mark.parametrize("form", ["portable", "custom", "primitives"])
    def test_each_form_fuses_to_the_same_node(self, graph, params, form):
        """fuse and lower are inverse to each other."""
        result = fuse(graph.model(graph.y()), form=form)
        assert [found.layout for found in result.fused] == ["NCHW"]
        lowered = result.model
        again = fuse(lowered, form="custom")
        (node,) = frn_nodes(again.model)
        found = node_parameters(again.model, node)
        assert np.array_equal(found.gamma, params.gamma)
        assert np.array_equal(found.beta, params.beta)
        assert np.array_equal(found.tau, params.tau)
        assert found.epsilon == params.epsilon


class TestUntouched:
    def test_names_of_inputs_and_outputs(self, graph):
        model = graph.model(graph.y())
        fused = fuse(model).model
        assert [i.name for i in fused.graph.input] == [i.name for i in model.graph.input]
        assert [o.name for o in fused.graph.output] == [o.name for o in model.graph.output]
        assert fused.graph.output[0].type == model.graph.output[0].type

    def test_the_model_given(self, graph):
        model = graph.model(graph.y())
        before = model.SerializeToString(deterministic=True)
        fuse(model)
        assert model.SerializeToString(deterministic=True) == before
        intermediate = ir.from_proto(model)
        fuse(intermediate)
        assert [n.op_type for n in intermediate.graph] == op_types(model)

    def test_metadata(self, graph):
        model = graph.model(graph.y())
        model.producer_name, model.producer_version, model.domain = "me", "1.2", "some.where"
        model.model_version, model.doc_string = 7, "about"
        helper.set_model_props(model, {"key": "value"})
        model.graph.doc_string = "the graph"
        fused = fuse(model).model
        for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
            assert getattr(fused, field) == getattr(model, field)
        assert fused.graph.name == model.graph.name
        assert fused.graph.doc_string == "the graph"
        assert list(fused.metadata_props) == list(model.metadata_props)
        assert fused.ir_version == model.ir_version

    def test_unknown_domains(self, graph, params):
        before = graph("Odd", graph.x, domain="some.where")
        graph.inputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, NCHW.dynamic))
        graph.x = "z"
        after = graph("Odd", graph.y(), domain="some.where")
        model = helper.make_model(
            helper.make_graph(
                graph.nodes,
                "odd",
                graph.inputs,
                [
                    helper.make_tensor_value_info(v, TensorProto.FLOAT, None)
                    for v in (before, after)
                ],
                graph.initializers,
            ),
            opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("some.where", 4)],
            ir_version=8,
        )
        fused = fuse(model).model
        assert [(n.domain, n.op_type) for n in fused.graph.node] == [
            ("some.where", "Odd"),
            (op.DOMAIN, FRN),
            ("some.where", "Odd"),
        ]
        assert {e.domain: e.version for e in fused.opset_import} == {
            "": 18,
            "some.where": 4,
            op.DOMAIN: 1,
        }

    def test_names_do_not_collide(self, graph, params, rng):
        """A model that already uses every name a new node would get."""
        y = graph.y()
        for suffix in ("", "/gamma", "/beta", "/tau", "_output"):
            graph.const(np.zeros(1, np.float32), f"n/{FRN}{suffix}")
        model = graph.model(graph("Add", y, f"n/{FRN}/gamma"), graph("Neg", f"n/{FRN}/beta"))
        assert len(fuse(model).fused) == 1
        assert_same_outputs(model, data(rng, NCHW), params)


class TestInitializers:
    def test_one_that_is_an_input_can_be_overridden(self, graph):
        """From IR version 4 on, the caller may pass another gamma: it is no constant."""
        graph.input("gamma", [3, 1, 1])
        result = fuse(graph.model(graph.y()), form="custom")
        assert op_types(result.model) == [FRN, "Mul", "Add", "Max"]

    def test_before_ir_4_all_are_inputs(self, graph):
        for tensor in graph.initializers:
            graph.input(tensor.name, tensor.dims)
        graph.ir_version, graph.opset = 3, 8
        y = graph.y()
        for tensor in graph.initializers[3:]:
            graph.input(tensor.name, tensor.dims)
        model = graph.model(y)
        assert op_types(fuse(model, form="custom").model) == [FRN]

    def test_constant_nodes(self, graph, params, rng):
        for name in ("gamma", "beta", "tau"):
            value = numpy_helper.from_array(NCHW.param(getattr(params, name)))
            setattr(graph, name, graph("Constant", value=value))
        graph.scalar = lambda value: graph("Constant", value_float=float(value))
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_large_weights_are_not_read(self, graph, tmp_path):
        """A (H, W, C) tau in an external file that is not there: Max stays, nothing is read."""
        model = graph.model(graph.affine())
        kind, shape = ir.DataType.FLOAT, ir.Shape([3, 1024, 1024])
        place = {"location": "nowhere.bin", "offset": 0, "length": 4 * 3 * 2**20}
        big = ir.ExternalTensor(**place, dtype=kind, shape=shape, name="big", base_dir=tmp_path)
        loaded = ir.from_proto(model)
        value = ir.Value(name="big", shape=shape, type=ir.TensorType(kind), const_value=big)
        loaded.graph.register_initializer(value)
        out = loaded.graph.outputs[0]
        node = ir.node("Max", [out, value])
        loaded.graph.append(node)
        loaded.graph.outputs[0] = node.outputs[0]
        fused, _ = fuse_in_place(loaded)
        assert [n.op_type for n in loaded.graph] == [FRN, "Max"]
        assert len(fused) == 1


class TestOrderAndErrors:
    def test_unsorted_graph(self, graph, params, rng):
        """ONNX Runtime's float16 tool leaves its casts at the end of the file."""
        model = graph.model(graph.y())
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        result = fuse(model)
        x = data(rng, NCHW)
        (y,) = graph_models.run(result.model, {"x": x})
        tolerances.assert_within(y, expected(x, params, NCHW), bound(x, params, NCHW))

    def test_unknown_form(self, graph):
        with pytest.raises(ArgumentError, match="form must be one of"):
            fuse(graph.model(graph.y()), form="native")

    def test_not_a_model(self, tmp_path):
        path = tmp_path / "m.onnx"
        path.write_text("not a model")
        with pytest.raises(ModelError, match="text file"):
            fuse(path)

    def test_from_a_path(self, graph, tmp_path):
        path = tmp_path / "m.onnx"
        onnx.save(graph.model(graph.y()), path)
        assert len(fuse(path).fused) == 1
        assert len(fuse(str(path)).fused) == 1

    def test_report(self, graph, params):
        model = graph.model(graph.y())
        (fused,) = fuse(model).fused
        assert fused.replaced == tuple(node.name for node in model.graph.node)
        assert fused.name == f"n/{FRN}"
        assert (fused.axes, fused.layout, fused.channels) == ((2, 3), "NCHW", 3)
        assert fused.epsilon == float(params.epsilon)
        assert fused.has_tau

    def test_nameless_nodes_go_by_their_outputs(self, graph):
        model = graph.model(graph.y())
        for node in model.graph.node:
            node.name = ""
        (fused,) = fuse(model).fused
        assert fused.replaced == tuple(node.output[0] for node in model.graph.node)


def test_work_grows_with_the_nodes(params, monkeypatch):
    """Each node is looked at a fixed number of times, however many layers there are."""
    seen = []
    right = trace.evaluate

    def counted(context, node, args):
        seen.append(node)
        return right(context, node, args)

    monkeypatch.setattr(trace, "evaluate", counted)
    counts = []
    for layers in (10, 20, 40):
        graph = Build(NCHW, params)
        for _ in range(layers):
            graph.x = graph("Tanh", graph.y())
        seen.clear()
        assert len(fuse(graph.model(graph.x), form="custom").fused) == layers
        counts.append(len(seen))
    assert counts[1] - counts[0] == 10 * (counts[0] // 10)
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])


def test_a_beta_in_a_narrower_type_than_x():
    """In float64 epsilon has to be a float32 all the same, and a Cast follows the node."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 13]>
        g (double[N,2,H,W] x) => (float[N,2,H,W] y)
        <double c = {0.3}, double[2,1,1] gamma = {2, -1}, float[2,1,1] beta = {1, 0.5}>
        {
          q = Mul (x, x) r = ReduceMean <axes = [2,3]> (q) e = Add (r, c) s = Sqrt (e)
          d = Div (x, s) z = Mul (d, gamma) f = Cast <to = 1> (z) y = Add (f, beta)
        }"""
    )
    fused = fuse(model, form="custom").model
    assert op_types(fused) == ["Mul", FRN, "Cast"]
    assert verify(model, fused).ok
