"""What may differ: rounding, and decisions that the first model does not stand by itself."""

import decisions
import numpy as np
import onnx.parser
import pytest
from numpy_runners import numpy_runner

from frn_onnx.graph import tolerance, verify

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("head", decisions.HEADS)
def test_a_decision_may_fall_otherwise_where_it_is_close(head):
    network = decisions.network(head, seed=1)
    assert verify(network, decisions.fused(network), samples=2).ok


INTEGERS = {
    "cast": ("uint8", "image = Cast<to = 1>(bytes)"),
    "dequantized": ("uint8", "image = DequantizeLinear(bytes, step, zero)"),
    "looked up": ("int64", "image = Gather(table, bytes)"),
    "float16": ("uint8", "half = Cast<to = 10>(bytes)\n image = Cast<to = 1>(half)"),
}


@pytest.mark.parametrize("kind", INTEGERS)
def test_a_decision_on_integers(kind, rng):
    dtype, nodes = INTEGERS[kind]
    network = decisions.from_integers(dtype, nodes, seed=1)
    given = {"bytes": rng.integers(0, 256, (3, 3, 160, 160)).astype(dtype)}
    assert verify(network, decisions.fused(network), inputs=given).ok
    # Whether rounding alone decides anything otherwise depends on the machine; this much does.
    rounded = decisions.changed(network, "gamma2", 1 + 2.0**-21, channel=slice(None))
    report = verify(network, decisions.fused(rounded), inputs=given)
    assert report.ok
    assert report.outputs[0].differing > 0
    other = decisions.fused(decisions.changed(network, "gamma1", 1.05))
    assert verify(network, other, samples=1).verdict == "different"


@pytest.mark.parametrize("parameter", ["gamma1", "beta1", "gamma2"])
@pytest.mark.parametrize("head", [head for head in decisions.HEADS if head != "places"])
def test_another_function_is_told(head, parameter):
    network = decisions.network(head, seed=1)
    other = decisions.fused(decisions.changed(network, parameter, 1.05))
    report = verify(network, other, samples=1)
    assert report.verdict == "different"


def test_the_report_counts_what_differed_and_what_might_have():
    network = decisions.network("uint8", seed=1)
    report = verify(network, decisions.fused(network), seed=1)
    (output,) = report.outputs
    assert report.ok
    assert (output.exceeding, output.max_abs) == (0, 1)
    assert 0 < output.differing < output.jumping < 1e-3 * output.elements
    assert f"{output.differing} of {output.elements} elements differ by more than" in str(output)
    assert f"{output.jumping} of its elements jump when its input moves by rounding" in str(output)


# Twice the first is a whole number, and less or more when it moves by one roundoff.
CLOSE = {"x": np.array([0.5] + [0.7] * 599, np.float32)}


def floor(change=lambda y: y, *, dtype=np.int64, scale=1.0):
    def run(x):
        return change(np.floor(2 * x.astype(np.float64)) * scale).astype(dtype)

    return numpy_runner(run, shape=("N",))


def put(index, value):
    def change(y):
        y = y.copy()
        y[index] = value
        return y

    return change


def test_only_a_value_that_the_first_model_gives_itself():
    report = verify(floor(), floor(put(0, 0)), inputs=CLOSE)
    assert report.ok
    assert (report.outputs[0].differing, report.outputs[0].jumping) == (1, 1)
    assert not verify(floor(), floor(put(0, 2)), inputs=CLOSE).ok


def test_only_where_the_first_model_jumps():
    report = verify(floor(), floor(put(1, 0)), inputs=CLOSE)
    assert report.verdict == "different"
    assert (report.outputs[0].exceeding, report.outputs[0].index) == (1, (1,))
    calm = {"x": np.full(600, 0.7, np.float32)}
    assert not verify(floor(), floor(put(0, 0)), inputs=calm).ok


def test_floats_behind_a_decision_jump_no_further_than_the_first_model():
    a = floor(dtype=np.float32, scale=0.25)
    assert verify(a, floor(put(0, 0), dtype=np.float32, scale=0.25), inputs=CLOSE).ok
    assert not verify(a, floor(put(0, -1), dtype=np.float32, scale=0.25), inputs=CLOSE).ok


def test_a_jump_is_as_far_but_for_rounding():
    """Two jumps of 0.25, of which one carries a rounding that is well below the tolerance."""
    a = floor(dtype=np.float32, scale=0.25)
    for rounding, ok in ((-1e-6, True), (-0.1, False)):
        b = floor(lambda y, by=rounding: put(0, 0)(y) + by, dtype=np.float32, scale=0.25)
        assert verify(a, b, inputs=CLOSE).ok == ok


def test_a_decision_behind_a_quantiser():
    """The input is far from a step of the first; what comes out of that is on one of the next."""
    text = """<ir_version: 8, opset_import: ["": 13]>
    main (float[N] x) => (float[N] y) <float one = {1.0}, int8 zero = {0}, float half = {HALF}>
    {
      q = QuantizeLinear (x, one, zero)
      d = DequantizeLinear (q, one, zero)
      h = Mul (d, half)
      r = QuantizeLinear (h, one, zero)
      y = DequantizeLinear (r, one, zero)
    }"""
    halves = ("0.5", f"{0.5 - 2**-25:.10f}")
    a, b = (onnx.parser.parse_model(text.replace("HALF", half)) for half in halves)
    x = {"x": np.array([3.1] + [2.1] * 600, np.float32)}
    report = verify(a, b, inputs=x)
    assert (report.ok, report.outputs[0].differing) == (True, 1)


def test_a_jump_covers_nothing_else():
    """One element of the first model jumps by 0.25; the others of the second are off by 0.01."""
    a = floor(dtype=np.float32, scale=0.25)
    b = floor(lambda y: y + 0.01, dtype=np.float32, scale=0.25)
    report = verify(a, b, inputs=CLOSE)
    assert report.outputs[0].exceeding >= 599


def test_a_wide_movement_explains_nothing():
    """Half precision moves the input by as much as the steps are wide."""
    a = numpy_runner(lambda x: np.floor(4000 * x), shape=("N",), dtype=np.float16)
    b = numpy_runner(lambda x: np.floor(4000 * x) + 3, shape=("N",), dtype=np.float16)
    x = {"x": np.linspace(0.9, 1, 600).astype(np.float16)}
    assert verify(a, b, inputs=x, rtol=0.0).verdict == "different"


def test_text_and_truth_jump_too():
    def words(x):
        return np.where(x >= 0.5, "high", "low").astype(object)

    def truth(x):
        return x >= 0.5

    for function, other in ((words, "low"), (truth, False)):
        a = numpy_runner(function, shape=("N",))
        for index, ok in ((0, True), (1, False)):
            b = numpy_runner(lambda x, f=function, o=other, i=index: put(i, o)(f(x)), shape=("N",))
            assert verify(a, b, inputs=CLOSE).ok is ok


def test_a_shape_that_rounding_changes_is_not_judged():
    def chosen(x):
        return np.flatnonzero(2 * x.astype(np.float64) >= 1)

    a = numpy_runner(chosen, shape=("N",))
    b = numpy_runner(lambda x: chosen(x)[1:], shape=("N",))
    report = verify(a, b, inputs=CLOSE)
    assert report.verdict == "unknown"
    assert "its shape changes when the input moves by rounding" in str(report)
    assert "CANNOT BE COMPARED" in str(report)
    # Random input is not close: there the shape must be the same.
    report = verify(a, b)
    assert report.verdict == "different"
    assert "shape" in report.outputs[0].problem


def test_integers_that_float64_does_not_tell_apart():
    a = numpy_runner(lambda x: np.array([2**60]))
    b = numpy_runner(lambda x: np.array([2**60 + 1]))
    assert not verify(a, b).ok


def test_another_kind_of_number():
    a = numpy_runner(lambda x: np.ones(3, np.float32))
    b = numpy_runner(lambda x: np.ones(3, np.int64))
    assert verify(a, b).outputs[0].problem == "float32 against int64"


def test_the_first_model_is_asked_again_only_where_something_differs():
    calls = []

    def count(x):
        calls.append(x)
        return x

    a = numpy_runner(count, shape=("N",))
    assert verify(a, numpy_runner(lambda x: x, shape=("N",)), inputs=CLOSE).ok
    assert len(calls) == 1
    # Once on the same input, once moved by a roundoff, and six times more until it is hopeless.
    assert not verify(a, numpy_runner(lambda x: x + 1, shape=("N",)), inputs=CLOSE).ok
    assert len(calls) == 1 + 1 + 2 + 6


def test_long_sums_are_off_by_more():
    small = tolerance.rounding(1, 2.0**-24, [np.zeros((1, 64, 96, 3))])
    assert small == 72 * 2.0**-24
    for shape in ((1, 1024, 1024, 3), (1, 3, 1024, 1024)):
        large = tolerance.rounding(4, 2.0**-24, [np.zeros(shape, np.int8)])
        assert large == (2 * 72 + 8192 - 64) * 2.0**-24
    assert tolerance.rounding(1, 2.0**-11, []) == 64 * 2.0**-24 + 8 * 2.0**-11
    assert tolerance.rounding(1, 2.0**-53, []) == 72 * 2.0**-53


def test_a_mean_of_a_large_plane_in_one_chain():
    """Channels last: ONNX Runtime adds a million squares up one by one."""
    x = np.random.default_rng(0).normal(0.2, 1, (1, 1024, 512, 2)).astype(np.float32)

    def normal(x, total):
        return (x / np.sqrt(total / 2**19)).astype(np.float32)

    def chain(x):
        return normal(x, np.cumsum(np.square(x).reshape(-1, 2), 0, dtype=np.float32)[-1])

    def exact(x):
        return normal(x, np.square(x.astype(np.float64)).sum((0, 1, 2)))

    shape = ("N", None, None, 2)
    a, b = (numpy_runner(f, shape=shape) for f in (chain, exact))
    report = verify(a, b, inputs={"x": x})
    assert report.ok
    assert report.outputs[0].max_rel > 72 * 2.0**-24
    assert not verify(a, numpy_runner(lambda x: 1.002 * exact(x), shape=shape), inputs={"x": x}).ok
