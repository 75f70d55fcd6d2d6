"""Providers that session options choose, strict sessions, and what runs each FRN node."""

import json
import warnings

import onnx
import onnxruntime as ort
import ort_models
import pytest

import frn_onnx
from frn_onnx.errors import FrnWarning, PluginError
from frn_onnx.runtime import doctor, library, providers

CPU = "CPUExecutionProvider"
OTHER = "OpenVINOExecutionProvider"

needs_devices = pytest.mark.skipif(
    not hasattr(ort.SessionOptions, "add_provider_for_devices"),
    reason="this onnxruntime chooses no devices (from 1.23 on)",
)


def with_devices():
    options = ort.SessionOptions()
    devices = [device for device in ort.get_ep_devices() if device.ep_name == CPU]
    options.add_provider_for_devices(devices, {})
    return options


def with_policy():
    options = ort.SessionOptions()
    options.set_provider_selection_policy(ort.OrtExecutionProviderDevicePolicy.PREFER_CPU)
    return options


@pytest.fixture
def registered(monkeypatch):
    """What the plugin was registered on."""
    found = []
    register = library.register
    monkeypatch.setattr(
        library, "register", lambda options: (found.append(options), register(options))
    )
    return found


@needs_devices
@pytest.mark.parametrize("make", [with_devices, with_policy])
def test_devices_of_the_cpu_get_the_kernel(case, registered, make):
    options = make()
    assert providers.chosen(options) == [CPU]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        created = frn_onnx.InferenceSession(case.model, options)
    assert registered.count(options) == 1
    assert not said
    assert created.get_providers() == [CPU]


@needs_devices
def test_devices_of_a_provider_that_compiles_graphs_get_the_body(case, registered, monkeypatch):
    monkeypatch.setattr(providers, "chosen", lambda options: [OTHER, CPU])
    frn_onnx.InferenceSession(case.model, with_devices())
    assert registered == []
    del case.model.functions[:]
    frn_onnx.InferenceSession(case.model, with_devices())
    assert len(registered) == 1


@needs_devices
def test_asking_leaves_the_options_and_the_disk_as_they_were(tmp_path):
    options = with_devices()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.add_session_config_entry("ep.context_enable", "1")
    assert providers.chosen(options) == [CPU]
    assert list(tmp_path.iterdir()) == []
    assert options.enable_profiling
    assert options.optimized_model_filepath == str(tmp_path / "optimised.onnx")
    assert options.get_session_config_entry("ep.context_enable") == "1"


def test_options_that_choose_nothing_leave_it_open():
    assert providers.chosen(None) is None
    assert providers.chosen(ort.SessionOptions()) is None


def test_strict_is_content_with_what_was_asked_for(case):
    frn_onnx.InferenceSession(case.model, providers=[CPU], strict=True)
    frn_onnx.InferenceSession(case.model, strict=True)
    frn_onnx.InferenceSession(case.model, providers=[CPU], plugin=False, strict=True)


@pytest.mark.parametrize("name", ["CUDAExecutionProvider", "TensorrtExecutionProvider"])
def test_strict_refuses_another_provider(case, name):
    if name in ort.get_available_providers():
        pytest.skip(f"this onnxruntime has {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(PluginError, match=f"{name} was asked for and is not used.* on {CPU}"):
            frn_onnx.InferenceSession(case.model, providers=[name, CPU], strict=True)


def test_strict_refuses_frn_on_another_provider(case, monkeypatch):
    monkeypatch.setattr(providers, "placements", lambda _: [providers.Placement("frn", "Other")])
    with pytest.raises(PluginError, match=rf"1 FRN nodes do not run on {CPU} \(frn on Other\)"):
        frn_onnx.InferenceSession(case.model, providers=[CPU], strict=True)


def lines(report):
    return {check.name: check for check in report.checks}


@ort_models.says_where_nodes_run
def test_doctor_says_what_runs_each_node(case, tmp_path, capsys):
    path = tmp_path / "model.onnx"
    onnx.save(case.model, path)
    found = lines(doctor.examine(str(path)))
    assert found["FRN frn"].detail == f"the library's kernel, {CPU}"
    from frn_onnx.cli import main

    assert main(["doctor", str(path), "--json"]) == 0
    names = [check["name"] for check in json.loads(capsys.readouterr().out)["checks"]]
    assert "FRN frn" in names


def test_doctor_says_how_frn_is_found(case, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(frn_onnx.lower(case.model, "primitives"), path)
    detail = lines(doctor.examine(str(path)))[f"model {path}"].detail
    assert "0 FRN nodes ('frn-onnx fuse' finds FRN that is in standard ops)" in detail
    onnx.save(case.model, path)
    assert "1 FRN nodes, providers" in lines(doctor.examine(str(path)))[f"model {path}"].detail


def test_doctor_names_a_fallback(case, tmp_path):
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    path = tmp_path / "model.onnx"
    onnx.save(case.model, path)
    with pytest.warns(UserWarning, match="not in available provider names") as warned:
        report = doctor.examine(str(path), ["CUDAExecutionProvider", CPU])
    assert not [w for w in warned if issubclass(w.category, FrnWarning)]  # it is in the report
    assert not report.ok
    assert "CUDAExecutionProvider was asked for" in lines(report)["fallback"].detail


def test_doctor_names_a_model_that_does_not_load(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    report = doctor.examine(str(path))
    assert not report.ok
    assert lines(report)[f"model {path}"].ok is False


def test_doctor_finds_two_packages(tmp_path, monkeypatch):
    """As pip leaves them: both have their own metadata, and one package's files."""
    for name, version in (("onnxruntime_gpu", "1.31.1"), ("onnxruntime_ep_openvino", "1.8.1")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    check = lines(doctor.examine())["onnxruntime packages"]
    assert check.ok is False
    assert "onnxruntime-gpu 1.31.1 are installed and overwrite each other's files" in check.detail
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install" in check.detail
    assert "openvino" not in check.detail


@pytest.mark.native
def test_doctor_finds_a_compiled_module_of_another_version(monkeypatch):
    monkeypatch.setattr(frn_onnx, "__version__", "0.0.9")
    report = doctor.examine()
    assert not report.ok
    assert "is of frn_onnx 0.1.0, the Python package of 0.0.9" in lines(report)["build"].detail
