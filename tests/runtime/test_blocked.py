"""Sessions whose FRN nodes work in ONNX Runtime's blocked layout."""

import collections
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import blocked_networks
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from blocked_networks import IMAGE, cnn, run
from onnx import TensorProto, helper, numpy_helper

import frn_onnx
from frn_onnx import op
from frn_onnx.errors import ArgumentError
from frn_onnx.graph.lowering import lower
from frn_onnx.runtime import making
from frn_onnx.runtime.blocked import rewriting, trial

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def block():
    return trial.block()


def test_the_trial_holds(block):
    assert block in (8, 16)


def assert_same(network, **arguments):
    """A blocked session gives what a plain one gives, but for rounding."""
    model, x = network.model(), network.image()
    plain = frn_onnx.InferenceSession(model, providers=CPU, blocked=False)
    session = frn_onnx.InferenceSession(model, providers=CPU, **arguments)
    assert [v.name for v in session.get_outputs()] == [v.name for v in plain.get_outputs()]
    nudged = x * (1 + network.rng.uniform(-1, 1, x.shape) * 2**-20).astype(np.float32)
    for y, expected, moved in zip(run(session, x), run(plain, x), run(plain, nudged), strict=True):
        assert y.shape == expected.shape
        # What eight roundoffs of the input do to the output, and as much again at each layer.
        allowed = 8 * np.abs(moved - expected).max() + 2e-5 * np.abs(expected).max()
        assert np.abs(y - expected).max() <= allowed
    return session.blocked


def test_random_networks():
    count = int(os.environ.get("FRN_ONNX_NETWORKS", "300"))
    reports = collections.Counter()
    for seed in range(count):
        network = blocked_networks.Network(seed)
        try:
            report = assert_same(network)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        reports["blocked"] += report.blocked
        reports["reordering"] += report.reordering
        reports["phases"] += report.phases
        reports["networks"] += report.reason is None
    # Else nothing was tried.
    assert reports["networks"] > 0.8 * count
    assert reports["blocked"] > 2 * count
    assert reports["reordering"] > 0.3 * count
    assert reports["phases"] > 0.01 * count


def one_frn():
    """No convolution at all."""
    model = cnn(channels=3)
    del model.graph.node[:]
    frn = op.node(["image", "gamma", "beta", "tau"], "y", axes=(2, 3), epsilon=0.01)
    model.graph.node.append(frn)
    return model


def test_a_cnn_is_blocked_and_says_so(caplog):
    caplog.set_level(logging.INFO, "frn_onnx.runtime")
    model = cnn()
    session = frn_onnx.InferenceSession(model, providers=CPU)
    assert (session.blocked.blocked, session.blocked.reason) == (2, None)
    assert "2 nodes in ONNX Runtime's blocked layout" in caplog.text
    plain = frn_onnx.InferenceSession(model, providers=CPU, blocked=False)
    np.testing.assert_allclose(run(session, IMAGE)[0], run(plain, IMAGE)[0], rtol=1e-4, atol=1e-5)

    def said(values):
        return [(value.name, value.shape, value.type) for value in values]

    assert said(session.get_inputs()) == said(plain.get_inputs())
    assert said(session.get_outputs()) == said(plain.get_outputs())
    a, b = session.get_modelmeta(), plain.get_modelmeta()
    assert a.custom_metadata_map == b.custom_metadata_map
    assert a.graph_name == b.graph_name


@pytest.mark.parametrize("form", ["portable", "custom"])
@pytest.mark.parametrize("opset", [13, 18, 21])
def test_forms_and_opsets(form, opset):
    session = frn_onnx.InferenceSession(lower(cnn(opset=opset), form), providers=CPU)
    assert session.blocked.blocked == 2


def test_nodes_keep_their_names(tmp_path):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = frn_onnx.InferenceSession(cnn(), options, providers=CPU)
    run(session, IMAGE)
    text = Path(session.end_profiling()).read_text()
    assert "frn1_kernel_time" in text
    assert "frn2_kernel_time" in text
    assert len(list(tmp_path.iterdir())) == 1


def test_the_users_options_are_left_as_they_were():
    options = ort.SessionOptions()
    options.log_severity_level = 2
    frn_onnx.InferenceSession(cnn(), options, providers=CPU)
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert options.optimized_model_filepath == ""
    assert options.log_severity_level == 2


def test_free_dimensions_of_the_options_hold():
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("n", 2)
    session = frn_onnx.InferenceSession(cnn(), options, providers=CPU)
    assert session.blocked.reason is None
    assert session.get_inputs()[0].shape[0] == 2


def weaker():
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options


def writing(tmp_path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    return options


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"blocked": False}, "blocked=False"),
        ({"plugin": False}, "plugin is not used"),
        ({"disabled_optimizers": ["ConstantFolding"]}, "disabled_optimizers"),
        ({"sess_options": weaker}, "less than all"),
        ({"sess_options": writing}, "the optimised model"),
    ],
)
def test_what_speaks_against_it(tmp_path, arguments, reason):
    if make := arguments.get("sess_options"):
        arguments = {"sess_options": make(tmp_path) if make is writing else make()}
    session = frn_onnx.InferenceSession(lower(cnn(), "portable"), providers=CPU, **arguments)
    assert session.blocked.blocked == 0
    assert reason in session.blocked.reason
    run(session, IMAGE)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: cnn(dtype=np.float16), "constant float32"),
        (lambda: lower(cnn(), "primitives"), "no FRN nodes"),
        (one_frn, "no FRN stands beside a convolution"),
    ],
)
def test_models_that_do_not_gain(model, reason):
    session = frn_onnx.InferenceSession(model(), providers=CPU)
    assert reason in session.blocked.reason
    run(session, IMAGE.astype(np.float16) if "float16" in session.get_inputs()[0].type else IMAGE)


def test_whatever_fails_leaves_the_plain_session(monkeypatch):
    def fail(*_):
        raise RuntimeError("not today")

    monkeypatch.setattr(rewriting, "optimise", fail)
    session = frn_onnx.InferenceSession(cnn(), providers=CPU)
    assert session.blocked.reason == "RuntimeError: not today"
    run(session, IMAGE)


def test_a_model_that_does_not_load_leaves_the_plain_session(monkeypatch):
    from frn_onnx.runtime.preparation import Prepared

    made = Prepared(b"no model", rewriting.Report(blocked=2))
    monkeypatch.setattr(making, "_blocked", lambda *_: made)
    session = frn_onnx.InferenceSession(cnn(), providers=CPU)
    assert session.blocked.blocked == 0
    run(session, IMAGE)


def test_an_invalid_model_is_told_by_onnx_runtime():
    with pytest.raises(Exception, match=r"ONNXRuntimeError|protobuf"):
        frn_onnx.InferenceSession(b"no model", providers=CPU)


def test_the_models_own_activations_are_left_alone():
    """Tanh of what FRN reads is not taken for FRN."""
    nodes = [helper.make_node("Tanh", ["a"], ["t"]), helper.make_node("Sigmoid", ["a"], ["s"])]
    model = cnn(middle=nodes)
    for name in ("t", "s"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = frn_onnx.InferenceSession(model, providers=CPU)
    plain = frn_onnx.InferenceSession(model, providers=CPU, blocked=False)
    for y, expected in zip(run(session, IMAGE), run(plain, IMAGE), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_subgraphs():
    """FRN in a branch stays as it is; what a branch reads from outside is there."""
    branch = helper.make_graph(
        [op.node(["b", "gamma", "beta"], "inner", axes=(2, 3))],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["b"], ["same"])],
        "else",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )
    flag = helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=other)
    model = cnn(middle=[flag])
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, ()))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    session = frn_onnx.InferenceSession(model, providers=CPU)
    plain = frn_onnx.InferenceSession(model, providers=CPU, blocked=False)
    for flag_value in (True, False):
        feeds = {"image": IMAGE, "flag": np.array(flag_value)}
        for y, expected in zip(session.run(None, feeds), plain.run(None, feeds), strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="blocked must be False or 'auto', received 'yes'"):
        frn_onnx.InferenceSession(cnn(), blocked="yes")


def test_doctor_says_where_frn_works(tmp_path):
    from frn_onnx.runtime import doctor

    path = tmp_path / "model.onnx"
    onnx.save(cnn(), path)
    checks = {check.name: check.detail for check in doctor.examine(str(path)).checks}
    assert checks["layout of FRN"] == "2 nodes in ONNX Runtime's blocked layout"


def test_providers_can_be_set_anew(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(lower(cnn(), "portable"), path)
    for model in (path, path.read_bytes()):
        session = frn_onnx.InferenceSession(model, providers=CPU)
        before = run(session, IMAGE)[0]
        session.set_providers(CPU)
        np.testing.assert_allclose(run(session, IMAGE)[0], before, rtol=1e-4, atol=1e-5)


def test_threads_that_share_options_do_not_meet(tmp_path):
    """Each session is optimised, and none writes a file for another."""
    import concurrent.futures

    options = ort.SessionOptions()
    model, expected = cnn(), []

    def make(number):
        session = frn_onnx.InferenceSession(
            model, options, CPU, blocked=(False, "auto")[number % 2]
        )
        return session.blocked.reason, run(session, IMAGE)[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, (reason, y) in enumerate(pool.map(make, range(24))):
            assert reason == (None if number % 2 else "blocked=False was passed")
            expected.append(y)
    for y in expected[1:]:
        np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_a_session_is_made_leaves_the_child_free():
    code = """
    import os, threading, time
    from frn_onnx.runtime.exclusive import exclusive
    held = threading.Event()
    def hold():
        with exclusive():
            held.set()
            time.sleep(30)
    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    child = os.fork()
    if child == 0:
        with exclusive():
            os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=20
    )
    assert done.stdout == "7\n"


def test_transposes_are_not_moved_past_what_stands_for_frn():
    """FRN between two that cancel, of as many rows as channels; another one is blocked."""
    model = cnn(channels=8)
    model.graph.node.extend(
        [
            helper.make_node("Transpose", ["last"], ["first"], perm=[0, 3, 1, 2]),
            op.node(["first", "gamma", "beta"], "q", axes=(2, 3), epsilon=0.1, name="between"),
            helper.make_node("Transpose", ["q"], ["z"], perm=[0, 2, 3, 1]),
        ]
    )
    dims = ("n", 8, "w2", 8)
    model.graph.input.append(helper.make_tensor_value_info("last", TensorProto.FLOAT, dims))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, dims))
    rng = np.random.default_rng(1)
    feeds = {"image": IMAGE, "last": rng.normal(size=(2, 8, 5, 8)).astype(np.float32)}
    session = frn_onnx.InferenceSession(model, providers=CPU)
    plain = frn_onnx.InferenceSession(model, providers=CPU, blocked=False)
    assert session.blocked.blocked == 2
    for y, expected in zip(session.run(None, feeds), plain.run(None, feeds), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parameter", ["constant", "computed"])
@pytest.mark.parametrize("axes", [(2, 3), (1, 2), (1, 3)])
def test_another_layout_in_front_of_a_convolution(axes, parameter):
    """As many rows and columns as channels: any axes would run."""
    model = cnn(channels=16)
    shape = op.param_shape(axes, 16)
    rng = np.random.default_rng(7)
    nodes = [op.node(["b", "g", "h"], "z", axes=axes, epsilon=0.1, name="odd")]
    if parameter == "computed":
        nodes.insert(0, helper.make_node("Abs", ["graw"], ["g"]))
    model.graph.node[2].input[0] = "z"
    for node in reversed(nodes):
        model.graph.node.insert(2, node)
    name = "graw" if parameter == "computed" else "g"
    for weight in (name, "h"):
        array = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, weight))
    if parameter == "computed":
        # An input, so that nothing folds it.
        weight = model.graph.initializer[-2]
        model.graph.initializer.remove(weight)
        model.graph.input.append(
            helper.make_tensor_value_info("graw", TensorProto.FLOAT, list(shape))
        )
    image = rng.normal(size=(1, 3, 18, 18)).astype(np.float32)
    feeds = {"image": image}
    if parameter == "computed":
        feeds["graw"] = rng.normal(size=shape).astype(np.float32)
    session = frn_onnx.InferenceSession(model, providers=CPU)
    plain = frn_onnx.InferenceSession(model, providers=CPU, blocked=False)
    assert session.blocked.blocked >= 2
    y, expected = session.run(None, feeds)[0], plain.run(None, feeds)[0]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
