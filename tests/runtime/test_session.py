"""Sessions with the plugin: which kernel runs, and what is said when none can."""

import concurrent.futures
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import ort_models
import pytest
import tolerances

import frn_onnx
from frn_onnx import op
from frn_onnx.errors import ArgumentError, FrnWarning, PluginError
from frn_onnx.runtime import library, providers, session


def bound(case):
    return tolerances.frn_bound(case.x, *case.params, epsilon=case.epsilon, axes=(2, 3))


def executed_ops(created, feed):
    """The op types that ran, from ONNX Runtime's own profile."""
    created.run(None, feed)
    profile = json.loads(Path(created.end_profiling()).read_text())
    return {e["args"]["op_name"] for e in profile if "op_name" in e.get("args", {})}


@pytest.fixture
def profiled(tmp_path):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    return options


def test_with_the_plugin_its_kernel_runs(case, profiled):
    created = frn_onnx.InferenceSession(case.model, profiled)
    assert executed_ops(created, {"X": case.x}) == {op.OP_TYPE}


def test_without_the_plugin_the_body_runs(case, profiled):
    created = frn_onnx.InferenceSession(case.model, profiled, plugin=False)
    ran = executed_ops(created, {"X": case.x})
    assert op.OP_TYPE not in ran
    assert "ReduceMean" in ran


@pytest.mark.parametrize("plugin", [True, False, "auto"])
def test_values_are_the_reference(case, plugin):
    y = frn_onnx.InferenceSession(case.model, plugin=plugin).run(["Y"], {"X": case.x})[0]
    tolerances.assert_within(y, case.expected, bound(case))


def test_it_is_onnxruntimes_class_with_its_arguments(case, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(case.model, path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    for source in (str(path), path, case.model.SerializeToString()):
        created = frn_onnx.InferenceSession(
            source, options, ["CPUExecutionProvider"], [{}], enable_fallback=0
        )
        assert isinstance(created, ort.InferenceSession)
        assert created.get_providers() == ["CPUExecutionProvider"]
        assert created.get_inputs()[0].shape == ["N", "C", "H", "W"]


def test_io_binding(case):
    created = frn_onnx.InferenceSession(case.model)
    binding = created.io_binding()
    binding.bind_cpu_input("X", case.x)
    binding.bind_output("Y")
    created.run_with_iobinding(binding)
    tolerances.assert_within(binding.copy_outputs_to_cpu()[0], case.expected, bound(case))


def test_registering_twice_changes_nothing(case):
    options = ort.SessionOptions()
    frn_onnx.register(options)
    frn_onnx.register(options)
    for _ in range(2):
        created = frn_onnx.InferenceSession(case.model, options)
        tolerances.assert_within(created.run(None, {"X": case.x})[0], case.expected, bound(case))


def test_sessions_from_many_threads(case):
    def run(_):
        created = frn_onnx.InferenceSession(case.model)
        return [created.run(None, {"X": case.x})[0] for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for outputs in pool.map(run, range(32)):
            for y in outputs:
                tolerances.assert_within(y, case.expected, bound(case))


def test_one_session_from_many_threads(case):
    created = frn_onnx.InferenceSession(case.model)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outputs = pool.map(lambda _: created.run(None, {"X": case.x})[0], range(64))
        first = next(outputs)
        for y in outputs:
            np.testing.assert_array_equal(y, first)


def test_custom_file_without_the_plugin_is_refused_by_onnxruntime(case):
    del case.model.functions[:]
    with pytest.raises(Exception, match="frn_onnx"):
        frn_onnx.InferenceSession(case.model, plugin=False)


def test_missing_library_names_it_and_the_cure(case, monkeypatch, tmp_path):
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "libfrn_onnx_ops.so")
    with pytest.raises(PluginError, match=r"libfrn_onnx_ops\.so is missing.*pip install"):
        frn_onnx.InferenceSession(case.model)
    frn_onnx.InferenceSession(case.model, plugin=False)


def test_library_that_is_none_names_it_and_onnxruntimes_version(case, monkeypatch, tmp_path):
    broken = tmp_path / "libfrn_onnx_ops.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(library, "_LIBRARY", broken)
    with pytest.raises(PluginError, match=f"{ort.__version__} could not load .*{broken.name}"):
        frn_onnx.InferenceSession(case.model)


def test_register_refuses_what_is_not_session_options():
    with pytest.raises(ArgumentError, match="SessionOptions, received dict; pass the options"):
        frn_onnx.register({})


def test_one_provider_is_a_list_as_well(case):
    with pytest.raises(ArgumentError, match=r"a sequence, received 'CPU'; pass \['CPU'\]"):
        frn_onnx.InferenceSession(case.model, providers="CPU")


def test_unknown_plugin_value(case):
    with pytest.raises(ValueError, match="True, False or 'auto', received 'yes'"):
        frn_onnx.InferenceSession(case.model, plugin="yes")


def test_a_copy_of_the_library_elsewhere_works(case, tmp_path):
    """Triton and C++ programs load the file from wherever it lies."""
    copy = shutil.copy(frn_onnx.get_library_path(), tmp_path)
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(copy))
    y = ort.InferenceSession(case.model.SerializeToString(), options).run(None, {"X": case.x})[0]
    tolerances.assert_within(y, case.expected, bound(case))


def test_only_a_file_without_a_body_needs_the_plugin(case):
    content = case.model.SerializeToString()
    assert not session._needs_plugin(content)
    del case.model.functions[:]
    assert session._needs_plugin(case.model.SerializeToString())
    case.model.graph.node[0].domain = ""
    case.model.graph.node[0].op_type = "Identity"
    assert not session._needs_plugin(case.model.SerializeToString())


def test_frn_in_a_subgraph_needs_the_plugin(case):
    branch = onnx.helper.make_graph(
        [case.model.graph.node[0]], "branch", [], [onnx.ValueInfoProto(name="Y")]
    )
    del case.model.functions[:]
    condition = onnx.helper.make_node("If", ["c"], ["Z"], then_branch=branch, else_branch=branch)
    case.model.graph.node[0].CopyFrom(condition)
    assert session._needs_plugin(case.model.SerializeToString())


def test_cuda_that_cannot_be_had_is_said(case):
    """On a machine with a GPU the providers are there, and the test of that is another."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.warns(FrnWarning, match="CUDAExecutionProvider was asked for and is not used.*gpu"),
    ):
        created = frn_onnx.InferenceSession(
            case.model, providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
    tolerances.assert_within(created.run(None, {"X": case.x})[0], case.expected, bound(case))


class OnTheWrongProvider:
    """What a CUDA session looks like whose FRN nodes went to the CPU."""

    def __init__(self, created):
        self.get_provider_graph_assignment_info = created.get_provider_graph_assignment_info

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]


@ort_models.says_where_nodes_run
def test_frn_on_another_provider_than_cuda_is_said(case):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    created = frn_onnx.InferenceSession(case.model, options)
    problem = providers.fallback(OnTheWrongProvider(created), ["CUDAExecutionProvider"])
    assert "1 FRN nodes do not run on CUDAExecutionProvider (frn" in problem
    assert "on CPUExecutionProvider" in problem


@pytest.mark.cuda
def test_on_a_gpu_frn_runs_there(case, profiled):
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FrnWarning)
        created = frn_onnx.InferenceSession(case.model, profiled, providers)
    tolerances.assert_within(created.run(None, {"X": case.x})[0], case.expected, bound(case))
