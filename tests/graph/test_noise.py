"""Models that draw random numbers: compared where both draw the same, and never equal unseen."""

import graph_models
import numpy as np
import pytest
from numpy_runners import numpy_runner
from onnx import numpy_helper

from frn_onnx.cli import main
from frn_onnx.graph import model_io, verify

pytest.importorskip("onnxruntime")

HEADER = '<ir_version: 8, opset_import: ["": 18, "own": 1]>'
FLOAT = "(float[N, 6, H] x) => (float[N, 6, H] y) <float[6, 1] w>"
NODES = {
    "normal like": "r = RandomNormalLike (x) s = Add (x, r) y = Mul (s, w)",
    "uniform like": "r = RandomUniformLike (x) s = Add (x, r) y = Mul (s, w)",
    "normal": "r = RandomNormal <shape = [6, 1]> () s = Add (x, r) y = Mul (s, w)",
    "uniform": "r = RandomUniform <shape = [6, 1]> () s = Add (x, r) y = Mul (s, w)",
    "a seed of its own": "r = RandomNormalLike <seed = 7.0> (x) s = Add (x, r) y = Mul (s, w)",
    "bernoulli": "p = Sigmoid (x) r = Bernoulli (p) s = Add (x, r) y = Mul (s, w)",
    "multinomial": """f = Flatten (x) r = Multinomial <sample_size = 1> (f) c = Cast <to = 1> (r)
        a = Constant <value_ints = [2]> () u = Unsqueeze (c, a) s = Add (x, u) y = Mul (s, w)""",
    "dropout": """q = Constant <value_float = 0.5> () t = Constant <value = bool {1}> ()
        s = Dropout (x, q, t) y = Mul (s, w)""",
    "two of a kind": """r = RandomNormalLike (x) q = RandomNormalLike (x) d = Sub (r, q)
        s = Add (x, d) y = Mul (s, w)""",
    "subgraph": """t = Constant <value = bool {1}> ()
        r = If (t) <
          then_branch = yes () => (float[A, B, C] m) { m = RandomNormalLike (x) },
          else_branch = no () => (float[A, B, C] n) { n = Identity (x) }>
        s = Add (x, r) y = Mul (s, w)""",
    "function": "p = own.noisy (x) s = own.noisy (p) y = Mul (s, w)",
}
FUNCTION = """
<domain: "own", opset_import: ["": 18]>
noisy (a) => (b) { n = RandomNormalLike (a) b = Add (a, n) }
"""


def network(nodes, seed=0):
    rng = np.random.default_rng(seed)
    functions = FUNCTION if "noisy" in nodes else ""
    return graph_models.parse(f"{HEADER} g {FLOAT} {{ {nodes} }} {functions}", rng)


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
def test_the_same_noise_in_both(nodes):
    assert verify(network(nodes), network(nodes), samples=2).ok
    other = network(nodes)
    (tensor,) = other.graph.initializer
    values = numpy_helper.to_array(tensor) * np.float32(1.001)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    assert verify(network(nodes), other, samples=2).verdict == "different"


def test_nodes_are_the_same_by_name_or_by_order():
    two = NODES["two of a kind"]
    swapped = two.replace("r = RandomNormalLike (x) q = RandomNormalLike (x)", "q = R r = R")
    swapped = swapped.replace("= R ", "= RandomNormalLike (x) ")
    assert verify(network(two), network(swapped)).ok
    renamed = two.replace("r =", "other =").replace("(r, q)", "(other, q)")
    assert verify(network(two), network(renamed)).ok
    # Noise on its own, added in place of subtracted: another function.
    assert verify(network(two), network(two.replace("Sub", "Add"))).verdict == "different"


def test_the_draws_of_one_node_are_not_those_of_another():
    """Equal seeds would make both differences 0."""
    nodes = "r = RandomNormalLike (x) q = RandomNormalLike (x) y = Sub (r, q)"
    other = nodes.replace("(r, q)", "(q, r)")
    assert verify(network(nodes), network(other)).verdict == "different"


def test_other_noise_cannot_be_compared(tmp_path, capsys):
    noisy = NODES["normal like"]
    for other in (noisy.replace("Normal", "Uniform"), "s = Add (x, x) y = Mul (s, w)"):
        report = verify(network(noisy), network(other))
        assert report.verdict == "unknown"
        assert not report.ok
        assert "it differs from run to run on the same input" in str(report)
        assert report.to_dict()["verdict"] == "unknown"
        assert verify(network(other), network(noisy)).verdict == "unknown"
    paths = [str(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    for path, nodes in zip(paths, (noisy, other), strict=True):
        model_io.save(network(nodes), path)
    assert main(["verify", *paths]) == 1
    assert "CANNOT BE COMPARED" in capsys.readouterr().out


def test_noise_of_another_runtime():
    rng = np.random.default_rng(0)
    noisy = numpy_runner(lambda x: x + rng.normal(size=x.shape))
    assert verify(noisy, noisy).verdict == "unknown"
    assert verify(noisy, numpy_runner(lambda x: x)).verdict == "unknown"
    decided = numpy_runner(lambda x: x + rng.normal(size=x.shape) > 0, shape=("N", 100))
    assert verify(decided, decided).verdict == "unknown"


def test_an_output_beside_the_noise_is_compared():
    text = """<ir_version: 8, opset_import: ["": 18]>
    g (float[N, 6] x) => (float[N, 6] y, float[N, 6] z) <float[6] w>
    { r = NOISE (x) y = Add (x, r) z = Mul (x, w) }"""

    def model(noise, seed):
        return graph_models.parse(text.replace("NOISE", noise), np.random.default_rng(seed))

    a = model("RandomNormalLike", 0)
    report = verify(a, model("RandomUniformLike", 0))
    assert [output.verdict for output in report.outputs] == ["unknown", "equal"]
    report = verify(a, model("RandomUniformLike", 1))
    assert [output.verdict for output in report.outputs] == ["unknown", "different"]
    assert report.verdict == "different"


def test_dropout_that_does_not_train_draws_nothing():
    model = network("s = Dropout (x) y = Mul (s, w)")
    assert verify(model, network("y = Mul (x, w)")).ok
