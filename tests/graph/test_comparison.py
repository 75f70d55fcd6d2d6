"""Comparing two models: what is run on what, and what counts as equal."""

import json
import math
import subprocess
import sys

import graph_models
import numpy as np
import onnx
import pytest
from numpy_runners import numpy_runner
from onnx import numpy_helper

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import model_io, samples
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.report import OutputReport, Report

pytest.importorskip("onnxruntime")

# Two inputs of different kinds, two outputs, one of them integer.
TWO = """
<ir_version: 8, opset_import: ["": 18]>
two (float[N, T] values, int64[M, T] table) => (float[N, T] sum, int64[N] best)
{
  float_table = Cast <to = 1> (table)
  zero = Constant <value_ints = [0]> ()
  row = ReduceSum <keepdims = 1> (float_table, zero)
  sum = Add (values, row)
  best = ArgMax <axis = 1, keepdims = 0> (sum)
}
"""


@pytest.fixture
def cnn(rng):
    return graph_models.parse(graph_models.CNN, rng)


def test_equal_models_in_every_form(cnn, tmp_path):
    portable = lower(cnn, "portable")
    path = tmp_path / "model.onnx"
    model_io.save(portable, path)
    report = verify(path, lower(cnn, "primitives"))
    assert report.ok
    assert (report.a, report.outputs[0].name) == (str(path), "scores")
    assert report.outputs[0].elements == (2 + 1 + 3) * 5
    assert len({sample["image"] for sample in report.samples}) == 3
    assert all(h != w for _, _, h, w in (sample["image"] for sample in report.samples))


@pytest.mark.native
def test_custom_files_run_with_the_plugin(cnn):
    report = verify(lower(cnn, "custom"), lower(cnn, "portable"))
    assert report.ok
    assert report.outputs[0].max_abs > 0


@pytest.mark.parametrize("name", ["gamma1", "beta1", "tau1", "gamma2", "beta2"])
def test_every_parameter_counts(cnn, name):
    portable = lower(cnn, "portable")
    changed = lower(cnn, "portable")
    tensor = next(t for t in changed.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[3] *= 1.01
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    report = verify(portable, changed)
    output = report.outputs[0]
    assert not report.ok
    assert not output.ok
    assert abs(output.a - output.b) > output.allowed
    assert "DIFFERENT" in str(report)
    assert f"worst at {output.index}" in str(report)


def test_inputs_and_outputs_are_matched_by_name(rng):
    a = graph_models.parse(TWO, rng)
    b = graph_models.parse(
        TWO.replace(
            "(float[N, T] values, int64[M, T] table)", "(int64[M, T] table, float[N, T] values)"
        ).replace("(float[N, T] sum, int64[N] best)", "(int64[N] best, float[N, T] sum)"),
        rng,
    )
    report = verify(a, b)
    assert report.ok
    assert [output.name for output in report.outputs] == ["sum", "best"]
    # T is one size, whichever input it is in.
    assert all(s["values"][1] == s["table"][1] for s in report.samples)


def test_scalar_inputs_of_every_kind(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18]>
        g (bool a, float b, int32 c, uint8 d) => (float y)
        {
          e = Cast <to = 1> (a) f = Cast <to = 1> (c) g = Cast <to = 1> (d)
          y = Sum (b, e, f, g)
        }""",
        rng,
    )
    report = verify(model, model)
    assert report.ok
    assert report.samples[0] == {"a": (), "b": (), "c": (), "d": ()}


def test_names_of_other_exporters():
    assert samples.match_names(["a", "b"], ["b", "a"]) == [1, 0]
    assert samples.match_names(["a", "b"], ["b:0", "serving/a:0"]) == [1, 0]
    assert samples.match_names(["image"], ["input_1"]) == [0]
    assert samples.match_names(["a"], ["a", "b"]) is None


def test_integers_must_be_equal():
    a = numpy_runner(lambda x: np.arange(3))
    b = numpy_runner(lambda x: np.array([0, 1, 3]))
    report = verify(a, b)
    assert (report.outputs[0].exceeding, report.outputs[0].index) == (3, (2,))


def test_text_must_be_equal():
    a = numpy_runner(lambda x: np.array(["cat", "dog"], dtype=object))
    b = numpy_runner(lambda x: np.array(["cat", "cow"], dtype=object))
    assert verify(a, a).ok
    assert verify(a, b).outputs[0].index == (1,)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(special):
    def put(value):
        return numpy_runner(lambda x: np.array([1, value, 3], dtype=np.float32))

    assert verify(put(special), put(special)).ok
    for a, b in ((put(special), put(2.0)), (put(2.0), put(special))):
        report = verify(a, b)
        assert report.outputs[0].index == (1,)
        assert report.outputs[0].max_abs == np.inf
        assert not report.ok
    assert not verify(put(special), put(special), rtol=1.0).outputs[0].exceeding


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_nowhere_finite_shows_nothing(special):
    def full(value):
        return numpy_runner(lambda x: np.full(x.shape, value, np.float32))

    report = verify(full(special), full(special))
    assert report.verdict == "unknown"
    assert str(report.outputs[0]).endswith(
        "NaN or infinite throughout, in every sample, which shows nothing"
    )
    assert verify(full(special), full(1.0)).verdict == "different"
    once = numpy_runner(lambda x: np.where(len(x) == 2, x, special))
    assert verify(once, once).ok


def test_what_is_empty_shows_nothing():
    empty = numpy_runner(lambda x: x[:, :0])
    report = verify(empty, empty)
    assert report.verdict == "unknown"
    assert "y: it has no elements" in str(report)
    # Beside another output it may be: a network found no object in noise.
    outputs = [OutputReport("boxes"), OutputReport("scores", elements=3)]
    assert Report("a", "b", [], outputs).ok


@pytest.mark.parametrize("mask", [-1e9, np.finfo(np.float32).min, np.inf])
def test_a_constant_is_no_magnitude(mask):
    """The -1e9 of a mask would allow the rest to be off by thousands."""

    def masked(change=lambda y: y, constant=mask):
        def run(x):
            return np.concatenate([change(x.astype(np.float64)), np.full((len(x), 1), constant)], 1)

        return numpy_runner(run)

    a = masked()
    assert verify(a, masked(lambda y: y * (1 + 2.0**-23))).ok
    assert verify(a, masked(lambda y: y + 1e-3)).verdict == "different"
    if np.isfinite(mask):
        assert verify(a, masked(constant=mask * (1 - 2.0**-20))).ok
        assert verify(a, masked(constant=mask * (1 - 2.0**-14))).verdict == "different"


def test_a_constant_of_0_is_as_large_as_the_rest():
    """The other side of a ReLU may be off by a rounding."""

    def half(zero):
        return numpy_runner(lambda x: np.concatenate([x, np.full((len(x), 1), zero)], 1))

    assert verify(half(0.0), half(1e-6)).ok
    assert verify(half(0.0), half(1e-3)).verdict == "different"


def test_sequences():
    def split(sizes):
        text = f"""<ir_version: 8, opset_import: ["": 18]> s (float[N, 3] x) => (seq(float[M, K]) y)
        {{ sizes = Constant <value_ints = [{sizes}]> ()
           y = SplitToSequence <axis = 1> (x, sizes) }}"""
        return onnx.parser.parse_model(text)

    assert verify(split("1, 1, 1"), split("1, 1, 1")).ok
    with pytest.raises(
        ModelError, match=r"an output of s \(y\) is a sequence of tensors of several"
    ):
        verify(split("1, 2"), split("1, 2"))


def test_tolerances():
    def off_by(error):
        return numpy_runner(lambda x: np.array([100.0, 1.0]) + error)

    exact = off_by(0.0)
    # depth 1: 72 units of roundoff of the largest magnitude.
    assert verify(exact, off_by(100 * 71 * 2.0**-24)).ok
    assert not verify(exact, off_by(101 * 72 * 2.0**-24)).ok
    assert verify(exact, off_by(0.01), atol=0.011).ok
    assert not verify(exact, off_by(0.01), atol=0.009).ok
    assert not verify(exact, off_by(0.01), rtol=0.001).ok
    assert verify(exact, off_by(0.01), rtol=0.011).ok


def test_what_a_model_makes_of_one_rounding():
    """The sine of 10000 x moves by 10000 roundoffs where x moves by one."""

    def off_by(roundoffs):
        return numpy_runner(lambda x: np.sin(1e4 * x.astype(float)) + roundoffs * 2.0**-24)

    assert verify(off_by(0), off_by(1000)).ok
    assert not verify(off_by(0), off_by(1_000_000)).ok


def test_outputs_that_differ_in_number(rng):
    one = graph_models.parse(TWO, rng)
    del one.graph.output[1]
    with pytest.raises(ModelError, match="different outputs: sum, best in two, sum in two"):
        verify(graph_models.parse(TWO, rng), one)


def test_shapes_that_differ():
    report = verify(numpy_runner(lambda x: x), numpy_runner(lambda x: x.T))
    assert not report.ok
    assert report.outputs[0].problem == "shape (2, 3) against (3, 2)"
    assert "shape (2, 3) against (3, 2)" in str(report)


def test_sizes_a_network_asks_for():
    """A network that takes squares only, of multiples of 32."""

    def picky(x):
        if x.shape[1] % 32 or x.shape[1] != x.shape[2]:
            raise ValueError("size")
        return x

    model = numpy_runner(picky, shape=(None, None, None))
    report = verify(model, model)
    assert {sample["x"] for sample in report.samples} == {(n, 224, 224) for n in (1, 2, 3)}


def test_networks_that_take_nothing():
    def broken(x):
        raise ValueError("there is no right size")

    with pytest.raises(ModelError, match=r"no made-up input suits numpy.*no right size"):
        verify(numpy_runner(broken), numpy_runner(np.sin))
    with pytest.raises(ModelError, match=r"b does not run on x \(2, 3\): there is no right size"):
        verify(numpy_runner(np.sin), numpy_runner(broken, label="b"))


def test_fixed_sizes_of_either_model_are_kept():
    a = numpy_runner(np.abs, shape=(4, "H", 3))
    b = numpy_runner(np.abs, shape=(None, 7, None))
    assert {s["x"] for s in verify(a, b).samples} == {(4, 7, 3)}


def test_inputs_that_do_not_fit_together():
    one = numpy_runner(np.abs)
    with pytest.raises(ModelError, match=r"different inputs: x in numpy, x, y in numpy"):
        verify(one, numpy_runner(np.add, inputs=("x", "y")))
    with pytest.raises(ModelError, match=r"shape \('N', 3\) in numpy and \('N', 4\)"):
        verify(one, numpy_runner(np.abs, shape=("N", 4)))
    with pytest.raises(ModelError, match=r"'x' is float32 in numpy and int64"):
        verify(one, numpy_runner(np.abs, dtype=np.int64))


def test_a_narrower_model_gets_the_same_values():
    seen = []

    def note(x):
        seen.append(x.astype(np.float64))
        return np.zeros(1)

    verify(numpy_runner(note), numpy_runner(note, dtype=np.float16), samples=1)
    np.testing.assert_array_equal(*seen)


def test_given_inputs(cnn, rng, tmp_path):
    image = rng.normal(size=(1, 3, 9, 7))
    path = tmp_path / "inputs.npz"
    np.savez(path, image=image)
    primitives = lower(cnn, "primitives")
    for inputs in (path, str(path), {"image": image}, {"arr_0": image.astype(np.float32)}):
        report = verify(primitives, primitives, inputs=inputs)
        assert report.ok
        assert report.samples == [{"image": (1, 3, 9, 7)}]


def test_one_input_under_another_name(cnn):
    with pytest.raises(
        ArgumentError, match="one array for each of the inputs image, received imag"
    ):
        verify(cnn, cnn, inputs={"imag": np.ones((1, 3, 9, 7))})


def test_bad_inputs(rng, tmp_path):
    two = graph_models.parse(TWO, rng)
    values, table = np.ones((1, 2), np.float32), np.ones((1, 2))
    with pytest.raises(ArgumentError, match=r"each of the inputs values, table, received values"):
        verify(two, two, inputs={"values": values})
    with pytest.raises(ArgumentError, match=r"received values, tables"):
        verify(two, two, inputs={"values": values, "tables": table})
    with pytest.raises(ArgumentError, match=r"'table' is int64, received an array of float64"):
        verify(two, two, inputs={"values": values, "table": table})
    with pytest.raises(ModelError, match=r"missing.npz: not a readable .npz file"):
        verify(two, two, inputs=tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no arrays here")
    with pytest.raises(ModelError, match="not a readable"):
        verify(two, two, inputs=tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", values)
    with pytest.raises(ModelError, match="not a readable"):
        verify(two, two, inputs=tmp_path / "one.npy")
    with pytest.raises(ArgumentError, match="samples must be 1 or more"):
        verify(two, two, samples=0)
    for given in ({"rtol": math.nan}, {"atol": -1e-3}, {"rtol": math.inf}):
        with pytest.raises(ArgumentError, match="must be a number of at least 0, received"):
            verify(two, two, **given)
    with pytest.raises(ArgumentError, match="seed must be at least 0, received -1"):
        verify(two, two, seed=-1)
    with pytest.raises(ArgumentError, match="received list"):
        verify(two, [two])


def test_models_that_onnx_runtime_refuses(cnn):
    broken = lower(cnn, "primitives")
    broken.graph.node[0].op_type = "NoSuchOp"
    with pytest.raises(ModelError, match="ONNX Runtime does not take the model"):
        verify(broken, broken)


def test_models_too_large_for_one_message(cnn, monkeypatch):
    monkeypatch.setattr(model_io, "LIMIT_BYTES", 4000)
    assert verify(lower(cnn, "portable"), lower(cnn, "primitives")).ok


def test_the_report_is_json(cnn):
    portable = lower(cnn, "portable")
    report = verify(portable, portable, samples=2)
    read = json.loads(json.dumps(report.to_dict()))
    assert read["ok"] is True
    assert read["samples"] == [{"image": [2, 3, 64, 96]}, {"image": [1, 3, 80, 64]}]
    assert read["outputs"][0]["name"] == "scores"


def test_the_narrowest_type_and_the_depth_set_the_tolerance(cnn):
    half = onnx.ModelProto()
    half.CopyFrom(lower(cnn, "primitives"))
    single = verify(half, half, samples=1).outputs[0].allowed
    half.graph.node.append(onnx.helper.make_node("Cast", ["w3"], ["narrow"], to=10))
    wide = verify(half, half, samples=1).outputs[0].allowed
    assert wide == pytest.approx(single * (64 + 8 * 2**13) / 72)


class TestKeras:
    """Keras models beside each other, and beside ONNX."""

    @pytest.fixture
    def keras(self):
        return pytest.importorskip("keras")

    def two_inputs(self, keras):
        image = keras.Input((None, None, 3), name="image")
        label = keras.Input((2,), dtype="int32", name="label")
        pooled = keras.layers.GlobalAveragePooling2D()(image)
        total = keras.layers.Dense(2, name="dense")(pooled) + keras.ops.cast(label, "float32")
        return keras.Model({"image": image, "label": label}, [total, pooled])

    def test_a_file_and_its_model(self, keras, tmp_path):
        model = self.two_inputs(keras)
        path = tmp_path / "model.keras"
        model.save(path)
        report = verify(model, path)
        assert report.ok
        assert set(report.samples[0]) == {"image", "label"}
        assert len(report.outputs) == 2

    def test_a_file_without_tf2onnx(self, keras, tmp_path):
        """Nothing is exported: what the exporter needs is not."""
        path = tmp_path / "model.keras"
        self.two_inputs(keras).save(path)
        code = (
            "import sys; sys.modules['tf2onnx'] = None; import frn_onnx; "
            f"print(frn_onnx.verify({str(path)!r}, {str(path)!r}, samples=1).ok)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "True\n", done.stderr

    def test_against_onnx(self, keras, rng):
        model = keras.Sequential(
            [
                keras.Input((None, None, 3), name="image"),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(5, name="dense"),
            ]
        )
        onnx_model = graph_models.parse(
            """<ir_version: 8, opset_import: ["": 18]>
            g (float[N, H, W, 3] "image:0") => (float[N, 5] scores) <float[3, 5] w>
            {
              axes = Constant <value_ints = [1, 2]> ()
              pooled = ReduceMean <keepdims = 0> (image, axes)
              scores = MatMul (pooled, w)
            }""".replace('"image:0"', "image"),
            rng,
        )
        kernel = numpy_helper.to_array(onnx_model.graph.initializer[0])
        model.layers[-1].set_weights([kernel, np.zeros(5)])
        assert verify(model, onnx_model).ok
        model.layers[-1].set_weights([kernel * 1.01, np.zeros(5)])
        assert not verify(model, onnx_model).ok

    def test_models_never_called(self, keras):
        model = keras.Sequential([keras.layers.Dense(3)])
        with pytest.raises(ArgumentError, match="its inputs are unknown"):
            verify(model, model)
