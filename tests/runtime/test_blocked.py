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
from onnx import TensorProto, helper, numpy_helper

import frn_onnx
from frn_onnx import op
from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io, tensors
from frn_onnx.graph.lowering import lower
from frn_onnx.runtime import making
from frn_onnx.runtime.blocked import rewriting, trial
from frn_onnx.runtime.blocked.errors import TrialError

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def block():
    return trial.block()


def test_the_trial_holds(block):
    assert block in (8, 16)


def run(session, x):
    return session.run(None, {session.get_inputs()[0].name: x})


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


def cnn(channels=16, *, opset=17, dtype=np.float32, frn=(2, 3), middle=()):
    """image -> Conv -> FRN -> Conv -> FRN -> y."""
    rng = np.random.default_rng(3)
    type_ = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights = {
        "w1": rng.normal(size=(channels, 3, 3, 3)),
        "w2": rng.normal(size=(channels, channels, 3, 3)) / channels,
        **{name: rng.normal(size=(channels, 1, 1)) for name in ("gamma", "beta", "tau")},
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="conv1"),
        op.node(["a", "gamma", "beta", "tau"], "b", axes=frn, name="frn1", epsilon=0.01),
        *middle,
        helper.make_node("Conv", ["b", "w2"], ["c"], name="conv2"),
        op.node(["c", "gamma", "beta"], "y", axes=frn, name="frn2", epsilon=0.01),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", type_, ("n", 3, "h", "w"))],
        [helper.make_tensor_value_info("y", type_, ("n", channels, "oh", "ow"))],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(op.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(model, {"owner": "somebody"})
    return model


def one_frn():
    """No convolution at all."""
    model = cnn(channels=3)
    del model.graph.node[:]
    frn = op.node(["image", "gamma", "beta", "tau"], "y", axes=(2, 3), epsilon=0.01)
    model.graph.node.append(frn)
    return model


IMAGE = np.random.default_rng(0).normal(size=(2, 3, 12, 11)).astype(np.float32)


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
    ids=str,
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
    from frn_onnx.runtime import making
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


def test_a_cache_makes_the_second_start_without_the_optimiser(tmp_path, monkeypatch):
    model = cnn()
    folder = tmp_path / "cache"
    first = frn_onnx.InferenceSession(model, providers=CPU, cache=folder)
    assert first.blocked.blocked == 2

    def fail(*_):
        raise AssertionError("the optimiser ran again")

    monkeypatch.setattr(rewriting, "optimise", fail)
    monkeypatch.setenv("FRN_ONNX_CACHE", str(folder))
    second = frn_onnx.InferenceSession(model, providers=CPU)
    assert second.blocked == first.blocked
    np.testing.assert_array_equal(run(second, IMAGE)[0], run(first, IMAGE)[0])


def test_what_a_start_imports(tmp_path):
    """Imports take longer than all else: nothing that only other work needs is among them."""
    path, folder = tmp_path / "model.onnx", tmp_path / "cache"
    onnx.save(cnn(), path)
    code = f"""
    import sys, frn_onnx
    from frn_onnx.runtime import cache
    cache._SETTLED_SECONDS = 0
    session = frn_onnx.InferenceSession({str(path)!r}, providers={CPU!r}, cache={str(folder)!r})
    assert session.blocked.blocked == 2, session.blocked
    print(*sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    for cached in (False, True):
        modules = set(subprocess.check_output(command, text=True).split())
        assert not {"frn_onnx.graph.fusion", "frn_onnx.graph.matcher"} & modules
        assert ("onnx_ir" in modules) is not cached


def test_fuse_when_it_is_opened(tmp_path, caplog):
    caplog.set_level(logging.INFO, "frn_onnx.runtime")
    path = tmp_path / "exported.onnx"
    onnx.save(lower(cnn(), "primitives"), path)
    before = path.read_bytes()
    session = frn_onnx.InferenceSession(path, providers=CPU, fuse=True)
    assert session.blocked.blocked == 2
    assert "in place of 8 nodes" in caplog.text
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    plain = ort.InferenceSession(before, providers=CPU)
    np.testing.assert_allclose(run(session, IMAGE)[0], run(plain, IMAGE)[0], rtol=1e-4, atol=1e-5)
    for arguments in ({"plugin": False}, {"blocked": False}):
        session = frn_onnx.InferenceSession(path, providers=CPU, fuse=True, **arguments)
        y = run(session, IMAGE)[0]
        np.testing.assert_allclose(y, run(plain, IMAGE)[0], rtol=1e-4, atol=1e-5)


def test_fuse_leaves_what_is_no_frn_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "frn_onnx.runtime")
    session = frn_onnx.InferenceSession(cnn(), providers=CPU, fuse=True, cache=tmp_path / "cache")
    assert session.blocked.blocked == 2  # which were FRN nodes already


def test_bad_arguments():
    with pytest.raises(ValueError, match="blocked must be False or 'auto', received 'yes'"):
        frn_onnx.InferenceSession(cnn(), blocked="yes")


def test_doctor_says_where_frn_works(tmp_path):
    from frn_onnx.runtime import doctor

    path = tmp_path / "model.onnx"
    onnx.save(cnn(), path)
    checks = {check.name: check.detail for check in doctor.examine(str(path)).checks}
    assert checks["layout of FRN"] == "2 nodes in ONNX Runtime's blocked layout"


def test_no_temporary_folder_is_no_error(monkeypatch):
    from frn_onnx.runtime import session as sessions

    def fail(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(sessions.tempfile, "TemporaryDirectory", fail)
    for fuse in (False, True):
        session = frn_onnx.InferenceSession(cnn(), providers=CPU, fuse=fuse)
        assert "temporary folder" in session.blocked.reason
        run(session, IMAGE)


def test_a_full_temporary_folder_is_no_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ModelError("no space left on device")

    monkeypatch.setattr(rewriting, "optimise", fail)
    monkeypatch.setattr(model_io, "save", fail)
    expected = run(frn_onnx.InferenceSession(cnn(), providers=CPU, blocked=False), IMAGE)[0]
    for cache in (None, tmp_path):
        session = frn_onnx.InferenceSession(cnn(), providers=CPU, fuse=True, cache=cache)
        assert "no space" in session.blocked.reason
        np.testing.assert_array_equal(run(session, IMAGE)[0], expected)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_model_that_is_replaced_while_it_is_read(tmp_path, monkeypatch, fuse):
    """Weights that were left in the file are not those of the other one."""
    path, other, cache = tmp_path / "model.onnx", tmp_path / "other.onnx", tmp_path / "cache"
    before = lower(cnn(), "primitives" if fuse else "portable")
    after = onnx.ModelProto()
    after.CopyFrom(before)
    for tensor in after.graph.initializer:
        if len(tensor.dims) > 1:
            array = -numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(before, path)
    onnx.save(after, other)
    expected = [
        run(frn_onnx.InferenceSession(model, providers=CPU, blocked=False), IMAGE)[0]
        for model in (before, after)
    ]
    load = making._load

    def replaced(model):
        loaded = load(model)
        if other.exists():
            os.replace(other, path)
        return loaded

    monkeypatch.setattr(making, "_load", replaced)
    for y in (expected[1], expected[0]):
        session = frn_onnx.InferenceSession(path, providers=CPU, fuse=fuse, cache=cache)
        assert session.blocked.blocked == 2
        np.testing.assert_allclose(run(session, IMAGE)[0], y, rtol=1e-4, atol=1e-4)
        onnx.save(before, path)  # taken back: the cache has nothing of the other under its name


def test_the_reason_is_of_this_session(tmp_path):
    """And not that of the one that wrote the entry."""
    session = frn_onnx.InferenceSession(cnn(), fuse=True, blocked=False, cache=tmp_path)
    assert "blocked=False" in session.blocked.reason
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = frn_onnx.InferenceSession(cnn(), options, CPU, fuse=True, cache=tmp_path)
    assert "less than all" in session.blocked.reason


def test_a_large_file_is_not_copied_for_few_weights(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    model = cnn()
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    monkeypatch.setattr(making, "_LARGEST_BYTES", (tmp_path / "weights").stat().st_size + 5000)
    assert frn_onnx.InferenceSession(path, providers=CPU).blocked.reason is None
    os.truncate(tmp_path / "weights", making._LARGEST_BYTES + 1)
    assert "larger than" in frn_onnx.InferenceSession(path, providers=CPU).blocked.reason


def test_links_to_a_model_and_its_weights(tmp_path, monkeypatch):
    """As in Hugging Face's cache: both are links to files of other names in one folder."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    folder.mkdir(parents=True)
    onnx.save(cnn(), blobs / "1", save_as_external_data=True, location="weights", size_threshold=0)
    os.rename(blobs / "weights", blobs / "2")
    onnx.save(lower(cnn(), "primitives"), blobs / "3")
    (folder / "model.onnx").symlink_to("../../blobs/1")
    (folder / "weights").symlink_to("../../blobs/2")
    (folder / "alone.onnx").symlink_to("../../blobs/3")
    expected = run(frn_onnx.InferenceSession(cnn(), providers=CPU), IMAGE)[0]
    monkeypatch.setattr(tensors, "SMALL_BYTES", 16)  # parameters, too, stay in the file
    for name, fuse in (("model.onnx", False), ("model.onnx", True), ("alone.onnx", True)):
        session = frn_onnx.InferenceSession(folder / name, providers=CPU, fuse=fuse)
        assert session.blocked.blocked == 2
        np.testing.assert_allclose(run(session, IMAGE)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_cache_of_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("FRN_ONNX_CACHE", "~/cache")
    frn_onnx.InferenceSession(cnn(), providers=CPU)
    assert (tmp_path / "cache").is_dir()


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


def test_a_file_that_is_asked_for_holds_its_weights(tmp_path):
    options = ort.SessionOptions()
    frn_onnx.InferenceSession(cnn(), options, CPU)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    frn_onnx.InferenceSession(cnn(), options, CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["optimised.onnx"]


def test_a_missing_model_is_told_by_onnx_runtime(tmp_path):
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(Exception, match=r"ONNXRuntimeError.*nothing.onnx"):
            frn_onnx.InferenceSession(tmp_path / "nothing.onnx", providers=CPU, cache=cache)


def test_a_failure_that_passes_is_not_kept(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "optimise", fail)
        session = frn_onnx.InferenceSession(cnn(), providers=CPU, cache=tmp_path)
        assert session.blocked.reason
    assert frn_onnx.InferenceSession(cnn(), providers=CPU, cache=tmp_path).blocked.reason is None


def test_a_failed_trial_that_passes_is_tried_again(monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    trial._tried.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(trial.tempfile, "TemporaryDirectory", fail)
        with pytest.raises(TrialError, match="No space left"):
            trial.block()
    trial.block()


def test_importing_the_class_imports_no_graph_tools():
    """They take longer than most sessions; only those that change their model need them."""
    code = """
    import sys
    import frn_onnx
    frn_onnx.InferenceSession
    print(sorted({"onnx_ir", "sympy", "frn_onnx.graph"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
