"""What every suite shares: a seeded generator, quiet logs, and GPU tests that skip visibly."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

# cmake and frn-onnx are this environment's, also where it was not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# TensorFlow reads it once, when whichever suite comes first imports it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20191120)


def pytest_collection_modifyitems(items) -> None:
    if os.environ.get("FRN_ONNX_REQUIRE_CUDA") == "1" or shutil.which("nvidia-smi"):
        return
    skip = pytest.mark.skip(reason="no NVIDIA GPU here (FRN_ONNX_REQUIRE_CUDA=1 makes this fail)")
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(skip)
