"""Which GPUs the CUDA kernels are built for, and which drivers."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "custom_ops" / "cuda" / "architectures.cmake"


def chosen(tmp_path, name, **variables) -> list[str]:
    """What the script sets a variable to."""
    script = tmp_path / "print.cmake"
    script.write_text(f'include("{SCRIPT}")\nmessage("${{{name}}}")\n')
    given = [f"-D{name}={value}" for name, value in variables.items()]
    result = subprocess.run(["cmake", *given, "-P", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stderr.strip().split(";")


@pytest.mark.parametrize(
    ("compiler", "processor", "expected"),
    [
        ("13.0.88", "x86_64", "75-real 80-real 90 100-real 120-real"),
        ("12.9.86", "x86_64", "70-real 75-real 80-real 90 100-real 120-real"),
        ("12.4.131", "x86_64", "70-real 75-real 80-real 90"),
        # Jetson Orin runs neither the code for 8.0 nor PTX for 9.0.
        ("13.0.88", "aarch64", "75-real 80-real 87-real 90 100-real 120-real"),
        ("12.6.68", "aarch64", "70-real 75-real 80-real 87-real 90"),
    ],
)
def test_architectures(tmp_path, compiler, processor, expected):
    variables = {"CMAKE_CUDA_COMPILER_VERSION": compiler, "CMAKE_SYSTEM_PROCESSOR": processor}
    assert chosen(tmp_path, "FRN_ONNX_CUDA_ARCHITECTURES", **variables) == expected.split()


def test_architectures_that_were_asked_for(tmp_path):
    asked = {"FRN_ONNX_CUDA_ARCHITECTURES": "native", "CMAKE_CUDA_COMPILER_VERSION": "13.0"}
    assert chosen(tmp_path, "FRN_ONNX_CUDA_ARCHITECTURES", **asked) == ["native"]


@pytest.mark.parametrize(
    ("compiler", "option"), [("13.0.88", "--compress-mode=size"), ("12.9.86", ""), ("12.4.1", "")]
)
def test_every_driver_of_the_major_version_can_unpack_the_kernels(tmp_path, compiler, option):
    """Drivers before CUDA 12.4 cannot unpack what was packed for size."""
    found = chosen(tmp_path, "FRN_ONNX_CUDA_PACKING", CMAKE_CUDA_COMPILER_VERSION=compiler)
    assert found == [option]


@pytest.fixture
def cuda_label(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "wheels"))
    spec = importlib.util.spec_from_file_location("wheels_build", ROOT / "wheels" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cuda_label


def test_a_wheel_says_which_cuda_is_in_it(tmp_path, monkeypatch, cuda_label):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.9, V12.9.86'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDACXX", str(nvcc))
    assert cuda_label() == "+cu12"
    monkeypatch.setenv("CUDACXX", "no-such-nvcc")
    with pytest.raises(SystemExit, match=r"no-such-nvcc was not found.*FRN_ONNX_CUDA=off"):
        cuda_label()
