"""What every suite shares: a seeded generator, quiet logs, and tests that skip visibly.

Those are the GPU's where there is none, and the compiled module's where it was not built.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from frn_onnx.runtime import library

# cmake and frn-onnx are this environment's, also where it was not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# TensorFlow reads it once, when whichever suite comes first imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20191120)


# Modules that call the compiled module, by themselves or through what they share.
_CALLS_NATIVE = re.compile(
    r"^from frn_onnx import .*\b_native\b|^from native_cases|frn_onnx\.frn\(", re.MULTILINE
)


_NOT_BUILT = "needs frn_onnx._native, which is built where Python's headers are"


class _NotBuilt(pytest.File):
    def collect(self):
        pytest.skip(_NOT_BUILT)


def pytest_pycollect_makemodule(module_path: Path, parent) -> pytest.File | None:
    if library.has_native() or not _CALLS_NATIVE.search(module_path.read_text()):
        return None
    return _NotBuilt.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items) -> None:
    lacking = {}
    if os.environ.get("FRN_ONNX_REQUIRE_CUDA") != "1" and not shutil.which("nvidia-smi"):
        lacking["cuda"] = "no NVIDIA GPU here (FRN_ONNX_REQUIRE_CUDA=1 makes this fail)"
    if not library.has_native():
        lacking["native"] = _NOT_BUILT
    for item in items:
        for marker, reason in lacking.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
