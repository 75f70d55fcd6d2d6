"""The wheel for Linux on aarch64 in a Debian of that kind, under QEMU (``make test-aarch64``).

The machine is a root folder in .envs/, made once; what Python needs comes as wheels from PyPI. It
gets the wheel from dist/ and a copy of tests/, and runs the suites that need no compiler: without
arguments a quick subset, with them what pytest makes of them.

    python tests/aarch64_machine.py [tests/native tests/graph ...]

Needs root, mmdebstrap and QEMU's binfmt handler, and says so and ends well where it has them not;
FRN_ONNX_REQUIRE_ENVS=1 makes that a failure.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machines import cannot

ROOT = Path(__file__).parents[1]
MACHINE = ROOT / ".envs" / "aarch64-bookworm"
_HANDLER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
_CURE = "apt install mmdebstrap qemu-user-static binfmt-support"
_PACKAGES = ("onnxruntime", "numpy", "onnx", "onnx-ir", "ml_dtypes", "rich", "pytest", "hypothesis")
# Newest first: of a package's wheels pip takes the one whose tag stands first.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_SITE = "usr/local/lib/python3.11/dist-packages"
_QUICK = (
    "tests/test_op.py tests/test_reference.py tests/native/test_golden.py "
    "tests/native/test_library.py tests/native/test_registration.py tests/native/test_bad_models.py"
)


def main(arguments: list[str]) -> int:
    lacking = _lacking()
    if lacking is not None:
        return cannot(f"no aarch64 machine: {lacking}")
    (wheel,) = (ROOT / "dist").glob("*-manylinux_2_28_aarch64.whl")
    install("--no-deps", wheel)
    return run(arguments or shlex.split(_QUICK))


def _lacking() -> str | None:
    """What is missing to make the machine; it is made if nothing is."""
    if os.geteuid() != 0:
        return "that needs root"
    if not _HANDLER.exists():
        return f"QEMU's handler {_HANDLER} is not registered ({_CURE})"
    if MACHINE.exists():
        return None
    if shutil.which("mmdebstrap") is None:
        return f"mmdebstrap is not installed ({_CURE})"
    MACHINE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="aarch64-", dir=MACHINE.parent) as folder:
        made = subprocess.run(
            [
                *("mmdebstrap", "--architectures=arm64", "--variant=minbase"),
                *("--include=python3", "bookworm", Path(folder, "root")),
                f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {_mirror()} "
                "bookworm main",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            return made.stderr.strip().splitlines()[-1]
        Path(folder, "root").rename(MACHINE)
    try:
        install("--constraint", ROOT / "constraints.txt", *_PACKAGES)
    except subprocess.CalledProcessError:
        shutil.rmtree(MACHINE)
        return "PyPI's wheels for aarch64 cannot be fetched"
    return None


def _mirror() -> str:
    """The Debian mirror that this machine uses."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    lines = sources.read_text().splitlines() if sources.exists() else []
    return next(
        (line.split()[1] for line in lines if line.startswith("URIs:")),
        "http://deb.debian.org/debian",
    )


def install(*packages: str | Path) -> None:
    """Unpacks wheels for aarch64 in the machine; nothing of this is emulated."""
    command = [
        *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"),
        *("--target", MACHINE / _SITE, "--upgrade", "--only-binary=:all:"),
        *("--python-version=3.11", "--implementation=cp"),
        *(f"--platform={name}_aarch64" for name in _PLATFORMS),
    ]
    subprocess.run([*command, *packages], check=True)


def run(arguments: list[str]) -> int:
    """Runs pytest in the machine, on a copy of the tests, so that only the wheel is seen."""
    folder = MACHINE / "srv" / "frn_onnx"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    pytest = ["python3", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    inside = ["env", "-i", "HOME=/root", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", *pytest]
    script = "mount --rbind /dev dev; exec " + shlex.join(
        ["chroot", ".", "sh", "-c", f"cd /srv/frn_onnx && exec {shlex.join(inside)}"]
    )
    # Mounts and processes are in namespaces of their own, which end with the command.
    namespaces = ["--pid", "--fork", "--kill-child", f"--mount-proc={MACHINE / 'proc'}"]
    begin = time.monotonic()
    code = subprocess.run(
        ["unshare", *namespaces, "sh", "-ec", script], cwd=MACHINE, check=False
    ).returncode
    print(f"aarch64 machine: {time.monotonic() - begin:.0f} s, exit code {code}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
