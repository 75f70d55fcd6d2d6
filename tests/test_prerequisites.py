"""What is missing on a machine is said in the first second, with the line to type."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "custom_ops" / "prerequisites.py"
SYSTEMS = {
    "Debian, Ubuntu": 'ID=linuxmint\nID_LIKE="ubuntu debian"\n',
    "Fedora": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "Arch": "NAME=Arch\n\nID=arch\n",
}


@pytest.fixture
def prerequisites():
    spec = importlib.util.spec_from_file_location("prerequisites", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(**environment):
    return subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_this_machine_has_all():
    result = run()
    assert result.returncode == 0, result.stderr


def test_no_compiler(tmp_path):
    result = run(PATH=str(tmp_path))
    assert result.returncode == 1
    assert "no C++17 compiler (CXX, c++, g++ or clang++) works here; type '" in result.stderr
    assert run(CXX="no-such-compiler").returncode == 1


def test_a_compiler_of_another_age(tmp_path):
    old = tmp_path / "old c++"
    old.write_text("#!/bin/sh\necho 'unrecognized option -std=c++17' >&2\nexit 1\n")
    old.chmod(0o755)
    assert run(CXX=f"'{old}'").returncode == 1


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 99, 0)])
def test_a_python_of_another_age(prerequisites, monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    problem = prerequisites.missing()
    assert problem.startswith("expected a Python from 3.11 to 3.13")
    assert f"is 3.{version[1]}; name another one, make PYTHON=python3.12" in problem


def test_no_venv(prerequisites, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "cannot make virtual environments; type '" in prerequisites.missing()


def test_no_headers(prerequisites, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prerequisites.sysconfig, "get_path", lambda name: str(tmp_path))
    assert prerequisites.main() == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "without Python's headers frn_onnx.frn()" in line
    assert line.endswith("make clean setup")


@pytest.mark.parametrize("name", SYSTEMS)
def test_lines_for_a_system(prerequisites, monkeypatch, tmp_path, name):
    release = tmp_path / "os-release"
    release.write_text(SYSTEMS[name])
    monkeypatch.setattr(prerequisites, "OS_RELEASE", str(release))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert prerequisites.system() == name
    line = prerequisites.cure("compiler")
    assert line.startswith("'sudo ")
    assert "g++" in line or "gcc" in line
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not prerequisites.cure("venv").startswith("'sudo ")


def test_another_system(prerequisites, monkeypatch, tmp_path):
    monkeypatch.setattr(prerequisites, "OS_RELEASE", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "platform", "linux")
    line = prerequisites.cure("headers")
    assert all(f"({name})" in line for name in (*SYSTEMS, "macOS"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert prerequisites.cure("compiler") == "'xcode-select --install'"
