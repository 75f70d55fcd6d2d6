"""One build in the oldest and the newest ONNX Runtime, and what older ones are told."""

import json

import pytest

SESSION = """
import json
import numpy as np
import onnxruntime as ort
import frn_onnx
from frn_onnx.runtime import doctor

report = doctor.examine()
print(json.dumps({"version": ort.__version__, "report": report.to_dict()}))
"""


@pytest.mark.parametrize("version", ["1.18.1", "1.20.1", "1.23.2"])
def test_one_build_loads_and_computes(environment, version):
    found = json.loads(environment(f"onnxruntime-{version}").run(SESSION))
    checks = {check["name"]: check for check in found["report"]["checks"]}
    assert found["version"] == version
    for name in ("kernel on arrays", "session with the plugin", "session without it"):
        assert checks[name]["ok"], checks[name]


def test_older_onnxruntime_is_refused_with_both_versions(environment):
    code = """
    import onnxruntime as ort
    import frn_onnx
    try:
        frn_onnx.register(ort.SessionOptions())
    except frn_onnx.errors.PluginError as error:
        print(error)
    try:
        ort.SessionOptions().register_custom_ops_library(frn_onnx.get_library_path())
    except Exception as error:
        print(error)
    """
    python_side, library_side = environment("onnxruntime-1.17.3").run(code).splitlines()
    assert "needs ONNX Runtime 1.18 or newer, this is 1.17.3" in python_side
    assert "1.18" in library_side
    assert "1.17.3" in library_side


def test_without_onnxruntime_the_install_line_is_named(environment):
    code = """
    import frn_onnx, numpy as np
    x = np.ones((1, 2, 2, 3), np.float32)
    print(frn_onnx.frn(x, np.ones(3), np.zeros(3)).sum())
    try:
        frn_onnx.InferenceSession
    except ImportError as error:
        print(error)
    """
    computed, refused = environment("no-onnxruntime").run(code).splitlines()
    assert abs(float(computed) - 12) < 1e-4
    assert "pip install 'frn_onnx[cpu]'" in refused


@pytest.mark.parametrize("version", ["1.18.1", "1.20.1", "1.23.2"])
def test_the_blocked_layout_is_that_of_this_version(environment, version):
    code = """
    from frn_onnx.runtime.blocked import trial
    print(trial.block())
    """
    assert int(environment(f"onnxruntime-{version}").run(code)) in (8, 16)
