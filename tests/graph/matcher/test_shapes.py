"""Shapes and types: what the file states, and what inference adds."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from matcher_graphs import Lines, ints

from frn_onnx.graph import infer
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.matcher.shapes import FLOATS, Shapes

ARRAYS = {"hw": ints(2, 3), "one64": ints(1), "k": np.ones((3, 3, 1, 1), np.float32)}


def shapes(body: str, **more):
    lines = Lines(body, arrays=ARRAYS | more.pop("arrays", {}), **more)
    return lines, lines.shapes


class TestStated:
    def test_sizes_names_and_open_ones(self):
        lines, found = shapes("y = Relu(x)", x="float[N,3,?,5]")
        assert found.of(lines.values["x"]) == ("N", 3, None, 5)
        assert found.dtype(lines.values["x"]) == ir.DataType.FLOAT

    def test_inference_is_not_run_where_all_is_stated(self, monkeypatch):
        lines = Lines("y = Relu(x)")
        monkeypatch.setattr(onnx.shape_inference, "infer_shapes", None)
        Shapes(lines.model, [lines.values["x"]])

    @pytest.mark.parametrize("x", ["float[N,?,3]", "float"])
    def test_inference_is_run_where_a_size_is_open(self, x, monkeypatch):
        lines = Lines("y = Relu(x)", x=x)
        if x == "float":
            lines.values["x"].shape = None
        calls = []
        infer = onnx.shape_inference.infer_shapes
        monkeypatch.setattr(
            onnx.shape_inference, "infer_shapes", lambda *a, **k: calls.append(a) or infer(*a, **k)
        )
        Shapes(lines.model, [lines.values["x"]])
        assert calls

    def test_the_model_stays_as_it_is(self):
        lines = Lines("r = ReduceMean(x, hw)\ny = Relu(r)", arrays=ARRAYS)
        before = ir.to_proto(lines.model).SerializeToString()
        assert lines.shapes.of(lines.values["r"]) == ("N", 3, 1, 1)
        assert ir.to_proto(lines.model).SerializeToString() == before


class TestInferred:
    def test_shapes_and_types(self):
        lines, found = shapes("r = ReduceMean(x, hw)\nc = Cast<to = 10>(r)\ny = Relu(c)")
        assert found.of(lines.values["c"]) == ("N", 3, 1, 1)
        assert found.dtype(lines.values["c"]) == ir.DataType.FLOAT16

    def test_what_is_stated_comes_first_and_numbers_before_names(self):
        lines = Lines("r = ReduceMean(x, hw)\ny = Relu(r)", arrays=ARRAYS)
        lines.values["r"].shape = ir.Shape(["batch", None, "h", 1])
        assert lines.shapes.of(lines.values["r"]) == ("batch", 3, 1, 1)

    def test_a_stated_shape_of_another_rank_stands_alone(self):
        lines = Lines("r = ReduceMean(x, hw)\ny = Relu(r)", arrays=ARRAYS)
        lines.values["r"].shape = ir.Shape(["a", "b"])
        assert lines.shapes.of(lines.values["r"]) == ("a", "b")

    def test_nothing_is_known_of_another_domain(self):
        lines, found = shapes("r = other.Relu(x)\ny = Relu(r)")
        assert found.of(lines.values["r"]) is None
        assert found.dtype(lines.values["r"]) is None

    @pytest.mark.parametrize(
        "node",
        [
            "ReduceMean(x, axes)",
            "Reshape(x, axes)",
            "Expand(x, axes)",
            "Unsqueeze(x, axes)",
            "Tile(x, axes)",
            "ConstantOfShape(axes)",
        ],
    )
    def test_axes_and_shapes_out_of_chains_of_constants(self, node):
        """ONNX does not look behind a Cast or a Neg of them."""
        counts = {"Reshape": (3, 5, 4), "Expand": (3, 5, 4), "Tile": (1, 1, 1)}
        numbers = counts.get(node.split("(")[0], (1, 2))
        arrays = {"f": np.array(numbers, np.float32)}
        lines, found = shapes(
            f"axes = Cast<to = 7>(f)\ny = {node}", x="float[3,5,4]", arrays=arrays
        )
        dims = found.of(lines.values["y"])
        assert dims is not None
        assert all(isinstance(dim, int) for dim in dims)

    @pytest.mark.parametrize(
        ("node", "numbers", "size"),
        [
            ("OneHot(i, axes, one)", 7, None),
            ("Pad(x, axes)", (1, 0, 0, 1, 0, 0), 5),
            ("Range(zero64, axes, one64)", 6, 6),
            ("Resize(x, , , axes)", (6, 5, 4), 6),
            ("Slice(x, zero64s, axes)", (2,), 2),
            ("Squeeze(x, axes)", (0,), 3),
            ("TopK<axis = 0>(x, axes)", (2,), 2),
            ("Split(x, axes)", (2, 1), 2),
        ],
    )
    def test_every_op_that_takes_its_shape_from_values(self, node, numbers, size):
        arrays = {"f": np.array(numbers, np.float32), "i": ints(0, 1), "one": np.zeros(2)}
        arrays |= {"zero64": np.int64(0), "one64": np.int64(1), "zero64s": ints(0)}
        outputs = "y, z" if node.startswith(("TopK", "Split")) else "y"
        x = "float[1,3,4]" if node.startswith("Squeeze") else "float[3,5,4]"
        lines, found = shapes(f"axes = Cast<to = 7>(f)\n{outputs} = {node}", x=x, arrays=arrays)
        dims = found.of(lines.values["y"])
        assert dims is not None
        assert dims[0] == size or (size is None and dims[-1] == 7)

    def test_large_weights_are_left_out_and_small_constants_are_not(self):
        weights = np.zeros((3, 1025), np.float32)
        lines, found = shapes(
            "m = MatMul(x, w)\ny = Relu(m)", x="float[N,3]", arrays={"w": weights}
        )
        assert found.of(lines.values["m"]) == ("N", 1025)
        assert "w" in lines.model.graph.initializers

    def test_shapes_that_contradict_each_other(self):
        """What the file states may do all the same."""
        lines, found = shapes("m = Add(x, u)\ny = Relu(m)", inputs=("float[7,7,7,7] u",))
        assert found.of(lines.values["x"]) == ("N", 3, "H", "W")

    def test_in_subgraphs(self):
        body = "y = If<then_branch = t () => (float a) {a = Relu(x)}, else_branch = e () => "
        body += "(float b) {b = Neg(x)}>(u)"
        lines = Lines(body, inputs=("bool u",))
        node = next(iter(lines.model.graph))
        for branch in ("then_branch", "else_branch"):
            value = node.attributes[branch].as_graph().outputs[0]
            value.shape, value.type = None, None
        found = Shapes(lines.model, lines.values.values())
        for branch in ("then_branch", "else_branch"):
            value = node.attributes[branch].as_graph().outputs[0]
            assert found.of(value) == ("N", 3, "H", "W")

    @pytest.mark.parametrize(("channels_last", "axis"), [(None, 1), (0, 1), (1, 3)])
    def test_the_blocked_convolutions_of_onnx_runtime(self, channels_last, axis):
        lines = Lines("y = other.Reorder(x)\nz = Relu(y)")
        node = lines.proto.graph.node[0]
        node.domain, node.op_type = "com.microsoft.nchwc", "ReorderOutput"
        node.attribute.append(onnx.helper.make_attribute("channels", 8))
        if channels_last is not None:
            node.attribute.append(onnx.helper.make_attribute("channels_last", channels_last))
        lines.proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft.nchwc", 1))
        dims = lines.shapes.of(lines.values["z"])
        assert [i for i, dim in enumerate(dims) if dim == 8] == [axis]
        assert len(dims) == 4
        assert lines.shapes.dtype(lines.values["z"]) == ir.DataType.FLOAT


def test_what_takes_the_place_of_a_value():
    lines, found = shapes("r = ReduceMean(x, hw)\ny = Relu(r)")
    new = ir.Value(name="new")
    found.replaced(lines.values["r"], new)
    assert found.of(new) == ("N", 3, 1, 1)
    found.replaced(ir.Value(name="unknown"), ir.Value(name="other"))


def test_floats():
    assert {kind.name for kind in FLOATS} == {"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"}


class TestMoved:
    def test_inferred_axes_in_another_order(self):
        lines, found = shapes("r = Relu(x)\ny = Relu(r)", x="float[N,3,4,5]")
        found.moved(lines.values["r"], (0, 2, 3, 1))
        assert found.of(lines.values["r"]) == ("N", 4, 5, 3)
        assert found.dtype(lines.values["r"]) == ir.DataType.FLOAT
        assert found.of(lines.values["y"]) == ("N", 3, 4, 5)

    def test_stated_axes_move_too(self):
        lines, found = shapes("r = Relu(x)\ny = Relu(r)", x="float[N,3,4,5]")
        lines.values["r"].shape = ir.Shape(["batch", 3, None, 5])
        found.moved(lines.values["r"], (0, 2, 3, 1))
        assert found.of(lines.values["r"]) == ("batch", 4, 5, 3)


def test_fuse_infers_shapes_once(monkeypatch):
    calls = []
    inferred = infer.inferred
    monkeypatch.setattr(infer, "inferred", lambda proto: calls.append(proto) or inferred(proto))
    body = "s = Mul(x, x)\nm = ReduceMean(s, hw)\ne = Add(m, eps)\nr = Sqrt(e)\ny = Div(x, r)"
    lines = Lines(body, arrays=ARRAYS | {"eps": np.float32(1e-6)})
    assert len(fuse(ir.to_proto(lines.model)).fused) == 1
    assert len(calls) == 1
