"""The built wheel with the oldest and the newest of what it goes with: which versions were run.

    make versions                  everything: tests/data/versions.json, and the table from it
    make versions ARGS=--table     the table of docs/platforms.md alone

Each combination gets an empty environment of its own, the wheel for its Python from dist/, and a
part of the suites on a copy of tests/; with Keras the demo, too: trained, exported, run, compared.
"""

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import generated
import wheel_environment

RESULTS = Path(__file__).parent / "data" / "versions.json"
PAGE = environments.ROOT / "docs" / "platforms.md"
# About 600 tests in half a minute: numbers, rewriting, sessions and errors of every form.
CHECK = (
    *("tests/test_op.py", "tests/test_reference.py", "tests/runtime/test_session.py"),
    *("tests/native/test_golden.py", "tests/native/test_library.py"),
    *("tests/native/test_registration.py", "tests/graph/test_fuse_forms.py"),
    *("tests/graph/test_lowering.py", "tests/graph/test_lowering_refusals.py"),
    "tests/graph/test_samples.py",
)
DEMO = ("tests/demo/test_demo.py", "-m", "not browser and not timing")
# What the table tells of an environment.
SHOWN = ("onnxruntime", "numpy", "onnx", "onnx-ir", "keras", "tensorflow-cpu", "tf2onnx")
_KERAS = "frn_onnx[demo]"


@dataclass(frozen=True)
class Combination:
    """What an environment is made of.

    Attributes:
        name: how the table calls it.
        python: "3.11", found on the path as python3.11.
        packages: requirements; what is not in them comes in the newest version.
    """

    name: str
    python: str
    packages: tuple[str, ...] = ()

    @property
    def tests(self) -> tuple[str, ...]:
        return (*CHECK, *DEMO) if _KERAS in self.packages else CHECK


COMBINATIONS = (
    Combination(
        "the oldest of all",
        "3.11",
        (_KERAS, *environments.oldest(), *environments.oldest("cpu", "keras", "demo")),
    ),
    Combination("ONNX Runtime 1.20", "3.11", ("onnxruntime==1.20.*",)),
    Combination("ONNX Runtime 1.23", "3.11", ("onnxruntime==1.23.*",)),
    Combination("ONNX Runtime 1.28", "3.11", ("onnxruntime==1.28.*",)),
    *(Combination("the newest", python, (_KERAS,)) for python in ("3.11", "3.12", "3.13")),
)


def try_one(combination: Combination) -> dict[str, Any]:
    """What was installed, how many tests passed, and which did not."""
    interpreter = shutil.which(f"python{combination.python}")
    if interpreter is None:
        raise SystemExit(
            f"make versions: python{combination.python} is not on the path, which"
            f" {combination.name!r} is for; install it, and make its wheel: make wheel"
            f" VENV=.envs/{combination.python} PYTHON=python{combination.python}"
        )
    # Something in packages: the newest, not what constraints.txt has.
    packages = combination.packages or ("onnxruntime",)
    ran = wheel_environment.run(combination.tests, packages, interpreter=interpreter)
    if not ran.installed:
        raise SystemExit(f"{combination.name}, Python {combination.python}: {ran.output}")
    print(combination.name, combination.python, ran.output.splitlines()[-1], flush=True)
    # pip spells a name as the package's file does: tensorflow_cpu.
    installed = {name.replace("_", "-"): version for name, version in ran.installed.items()}
    passed = re.search(r"(\d+) passed", ran.output)
    return {
        "name": combination.name,
        "python": combination.python,
        "versions": {name: installed[name] for name in SHOWN if name in installed},
        "passed": int(passed[1]) if passed else 0,
        "failed": re.findall(r"^(?:FAILED|ERROR) (\S+)", ran.output, re.MULTILINE),
        "code": ran.code,
    }


def sections() -> dict[str, str]:
    """The table of docs/platforms.md, from what was run last."""
    rows = []
    for found in json.loads(RESULTS.read_text()):
        versions = [found["versions"].get(name, "") for name in SHOWN]
        outcome = f"{found['passed']} pass" if found["code"] == 0 else "**fails**"
        rows.append([found["name"], found["python"], *versions, outcome])
    head = ("", "Python", *(f"`{name}`" for name in SHOWN), "tests")
    return {"versions": generated.table(head, rows, right=())}


def main(arguments: list[str]) -> int:
    if arguments != ["--table"]:
        results = [try_one(combination) for combination in COMBINATIONS]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    generated.write_sections(PAGE, sections())
    return int(any(found["code"] for found in json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
