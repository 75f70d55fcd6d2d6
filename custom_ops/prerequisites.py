"""What a machine must have before anything is downloaded, and the line to type where it has not.

    python3 custom_ops/prerequisites.py

Exit code 1 if something is missing that setting up cannot do without. What it can do without is
said in one line. Runs under Pythons that are too old for everything else, too.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig

OLDEST_PYTHON = (3, 11)
# Export and the demo need TensorFlow, which has no wheels for newer ones.
NEWEST_PYTHON = (3, 13)

# Where a Linux says which one it is.
OS_RELEASE = "/etc/os-release"
# What to type for each thing that may be missing, by system.
_CURES = {
    "Debian, Ubuntu": {
        "python": "apt install python3.11-venv python3.11-dev",
        "compiler": "apt install g++ make",
        "venv": "apt install {python}-venv",
        "headers": "apt install {python}-dev",
    },
    "Fedora": {
        "python": "dnf install python3.13-devel",
        "compiler": "dnf install gcc-c++ make",
        "venv": "dnf install {python}",
        "headers": "dnf install {python}-devel",
    },
    "Arch": {
        "python": "pacman -S uv && uv python install 3.13",
        "compiler": "pacman -S --needed gcc make",
        "venv": "pacman -S python",
        "headers": "pacman -S python",
    },
    "macOS": {
        "python": "brew install python@3.13",
        "compiler": "xcode-select --install",
        "venv": "brew install python@3.13",
        "headers": "brew install python@3.13",
    },
}
_BY_ID = {"debian": "Debian, Ubuntu", "ubuntu": "Debian, Ubuntu", "fedora": "Fedora"}
_BY_ID.update({"rhel": "Fedora", "arch": "Arch"})


def main() -> int:
    problem = missing()
    if problem:
        sys.stderr.write(f"frn_onnx: {problem}\n")
        return 1
    if not has_python_headers():
        sys.stderr.write(
            "frn_onnx: without Python's headers frn_onnx.frn(), the kernel on plain arrays, is "
            "left out; sessions, export and serving do without. To have it, type "
            f"{cure('headers')} and then: make clean setup\n"
        )
    return 0


def missing() -> "str | None":
    """What setting up cannot do without and is not there, with its cure."""
    version = sys.version_info[:2]
    if not OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        oldest, newest, this = (
            ".".join(map(str, v)) for v in (OLDEST_PYTHON, NEWEST_PYTHON, version)
        )
        return (
            f"expected a Python from {oldest} to {newest}, the newest that TensorFlow has, and "
            f"{sys.executable} is {this}; name another one, make PYTHON=python3.12 ..., or get one "
            f"first: {cure('python')}"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return f"{sys.executable} cannot make virtual environments; type {cure('venv')}"
    if not has_compiler():
        return f"no C++17 compiler (CXX, c++, g++ or clang++) works here; type {cure('compiler')}"
    return None


def has_python_headers() -> bool:
    """Whether the headers of this Python are installed."""
    folders = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    return any(os.path.isfile(os.path.join(folder, "Python.h")) for folder in folders)


def has_compiler() -> bool:
    """Whether there is a compiler that knows C++17 and finds its library."""
    named = os.environ.get("CXX")
    for command in [shlex.split(named)] if named else [["c++"], ["g++"], ["clang++"]]:
        if command and shutil.which(command[0]):
            tried = subprocess.run(
                [*command, "-std=c++17", "-x", "c++", "-fsyntax-only", "-"],
                input=b"#include <optional>\nstd::optional<int> x;\n",
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if tried.returncode == 0:
                return True
    return False


def cure(what: str) -> str:
    """The line to type on this system; one for each known system where this is another."""
    here = system()
    if here:
        return f"'{_line(here, what)}'"
    return ", ".join(f"'{_line(name, what)}' ({name})" for name in _CURES)


def _line(name: str, what: str) -> str:
    line = _CURES[name][what].format(python=_package())
    needs_root = name != "macOS" and os.geteuid() != 0
    return f"sudo {line}" if needs_root else line


def _package() -> str:
    """What a Linux calls its package of this Python: python3, or a version beside that."""
    version = "python{}.{}".format(*sys.version_info)
    default = os.path.basename(os.path.realpath("/usr/bin/python3"))
    return "python3" if default == version else version


def system() -> "str | None":
    """Which of the known systems this is."""
    if sys.platform == "darwin":
        return "macOS"
    try:
        with open(OS_RELEASE) as file:
            entries = dict(line.strip().split("=", 1) for line in file if "=" in line)
    except OSError:
        return None
    names = f"{entries.get('ID', '')} {entries.get('ID_LIKE', '')}".replace('"', "").split()
    return next((_BY_ID[name] for name in names if name in _BY_ID), None)


if __name__ == "__main__":
    sys.exit(main())
