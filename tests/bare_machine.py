"""What a new user meets: the README's first commands on a bare Debian (``make test-bare``).

The machine is a root folder with Python, g++, make and git, as Debian's packages come: without
Python's headers, without nvcc. It is packed into .envs/ once and unpacked anew for each run; this
checkout's last commit is cloned into it. Only pip's downloads are shared with this machine.

Needs root, mmdebstrap and Debian's packages, and says so and ends well where it has them not;
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
SUITE = "trixie"
PACKED = ROOT / ".envs" / f"bare-{SUITE}.tar"
_PACKAGES = "python3,python3-venv,g++,make,git,ca-certificates"
# The machine's own way to the network, which the one inside shares.
_FILES = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
_ENVIRONMENT = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")

# A folder as people have them, what is run in it, and how much of the tests: not what compiles the
# kernels again, in other ways, for minutes.
_FOLDER = "/srv/Über uns/frn onnx"
_TESTS = (
    "-q -m 'not slow and not timing' "
    "tests/runtime tests/cli tests/test_op.py tests/test_reference.py tests/native "
    "--ignore=tests/native/test_simt.py --ignore=tests/native/test_sanitizers.py"
)


def main() -> int:
    lacking = _lacking()
    if lacking is not None:
        return cannot(f"a bare machine cannot be made: {lacking}")
    with tempfile.TemporaryDirectory(prefix="bare-", dir=PACKED.parent) as folder:
        machine = Machine(Path(folder))
        machine.run("without a compiler", "! CXX=none make demo 2>&1 | tee /tmp/out", seconds=30)
        machine.run("names it", "grep -q \"type 'apt install g++ make'\" /tmp/out")
        machine.run("make demo", "make demo 2>&1 | tee /tmp/out && ls demo/*.onnx", seconds=1800)
        machine.run("names headers", "grep -q \"type 'apt install python3-dev'\" /tmp/out")
        machine.run("make test", f'make test ARGS="{_TESTS}"', seconds=1800)
    return 0


def _lacking() -> str | None:
    """What is missing to make a bare machine; the packed one is made if nothing is."""
    if os.geteuid() != 0:
        return "that needs root"
    if PACKED.exists():
        return None
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed (apt install mmdebstrap)"
    PACKED.parent.mkdir(exist_ok=True)
    making = PACKED.with_suffix(f".{os.getpid()}.tar")
    command = ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, str(making)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        making.unlink(missing_ok=True)
        return made.stderr.strip().splitlines()[-1]
    making.rename(PACKED)
    return None


class Machine:
    """A bare machine with a clone of this checkout.

    Args:
        folder: an empty one, for its root.
    """

    def __init__(self, folder: Path) -> None:
        self._root = folder
        subprocess.run(["tar", "-xpf", str(PACKED), "-C", str(folder)], check=True)
        for name in _FILES:
            if Path("/", name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path("/", name), folder / name)
        pip = [sys.executable, "-m", "pip", "cache", "dir"]
        cache = subprocess.run(pip, capture_output=True, text=True, check=True).stdout.strip()
        Path(cache).mkdir(parents=True, exist_ok=True)
        self._mounts = {"/dev": "dev", cache: "root/.cache/pip"}
        for target in self._mounts.values():
            (folder / target).mkdir(parents=True, exist_ok=True)
        clone = folder / _FOLDER[1:]
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, clone], check=True)

    def run(self, what: str, command: str, seconds: int = 60) -> None:
        """Runs a shell command in the clone, and ends this program where it fails."""
        mounts = [
            f"mount --rbind {shlex.quote(source)} {shlex.quote(str(self._root / target))}"
            for source, target in self._mounts.items()
        ]
        given = [f"{name}={os.environ[name]}" for name in _ENVIRONMENT if name in os.environ]
        inside = ["env", "-i", "HOME=/root", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", *given]
        # Without pipefail the exit status of a command that is also looked at would be lost.
        script = f"set -eo pipefail; cd {shlex.quote(_FOLDER)}; {command}"
        chroot = shlex.join(["chroot", str(self._root), *inside, "bash", "-c", script])
        # Mounts and processes are in namespaces of their own, which end with the command.
        namespaces = ["--pid", "--fork", "--kill-child", f"--mount-proc={self._root / 'proc'}"]
        outside = ["unshare", *namespaces, "sh", "-ec", "; ".join([*mounts, f"exec {chroot}"])]
        begin = time.monotonic()
        code = subprocess.run(outside, timeout=seconds, check=False).returncode
        print(f"bare machine: {what}: {time.monotonic() - begin:.0f} s, exit code {code}")
        if code != 0:
            raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
