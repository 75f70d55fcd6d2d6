"""The CPU quota of a container, read from made-up /proc and /sys/fs/cgroup."""

import shutil
import subprocess
from pathlib import Path

import pytest

CUSTOM_OPS = Path(__file__).parents[2] / "custom_ops"
MAIN = """
#include <cstdio>
#include "cpu/cgroup.h"
int main(int, char** arguments) { std::printf("%g", frn::CpuQuota(arguments[1])); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("cgroup")
    (folder / "main.cc").write_text(MAIN)
    sources = [str(folder / "main.cc"), str(CUSTOM_OPS / "cpu/cgroup.cc")]
    subprocess.run(
        ["c++", "-std=c++17", f"-I{CUSTOM_OPS}", *sources, "-o", str(folder / "quota")], check=True
    )
    return folder / "quota"


GROUPS, V1 = "proc/self/cgroup", "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, "inf"),
        ({GROUPS: "0::/\n"}, "inf"),
        ({GROUPS: "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, "inf"),
        ({GROUPS: "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, "1.5"),
        ({GROUPS: "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, "0.5"),
        (
            {
                GROUPS: "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000\n",
            },
            "3",
        ),
        ({GROUPS: "0::/../elsewhere\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, "2"),
        (
            {
                GROUPS: "4:cpu,cpuacct:/docker/x\n2:cpuset:/\n0::/\n",
                f"{V1}/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                f"{V1}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            "2.5",
        ),
        (
            {
                GROUPS: "1:cpu:/\n",
                f"{V1}/cpu/cpu.cfs_quota_us": "-1\n",
                f"{V1}/cpu/cpu.cfs_period_us": "100000\n",
            },
            "inf",
        ),
        ({GROUPS: "rubbish\n::\n0::x\n", "sys/fs/cgroup/cpu.max": "rubbish"}, "inf"),
    ],
)
def test_quota(program, tmp_path, files, quota):
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == quota
