"""Runs each form of each file in each runtime, and makes the table of docs/platforms.md.

    make runtimes                  everything: tests/data/runtimes.json, and the table from it

An output is right where it is Keras's to RIGHT of the largest value; what a runtime prints when it
takes no such file is kept beside.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpp_example
import environments
import generated
import numpy as np

import frn_onnx
from frn_onnx.graph.forms import FORMS
from runtimes import networks

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "data" / "runtimes.json"
PAGE = ROOT / "docs" / "platforms.md"
RIGHT = 1e-3
PROGRAMS = Path(__file__).with_name("programs.py")
_REASON_LETTERS = 300

Command = Callable[[Path, Path], list[str | Path]]


@dataclass(frozen=True)
class Runtime:
    """How a runtime is called.

    Attributes:
        package: its name where it comes from.
        version: the one that runs.
        command: of a file and the folder with its input.
    """

    package: str
    version: str
    command: Command


def runtimes() -> dict[str, Runtime]:
    """All of them by the name in the table; what they need is installed."""
    other = environments.python("runtimes")
    modules = environments.node_modules()
    fetched = {
        "OpenVINO": ("openvino", "openvino"),
        "OpenCV dnn": ("opencv-python-headless", "opencv"),
        "tract": ("tract", "tract"),
    }
    own = {
        "ONNX Runtime with the plugin": ("onnxruntime", "plugin"),
        "ONNX Runtime": ("onnxruntime", "onnxruntime"),
        "onnx.reference": ("onnx", "onnx"),
    }
    found = {name: _python(Path(sys.executable), *about) for name, about in own.items()}
    found["ONNX Runtime in C++ with the plugin"] = Runtime(
        "examples/cpp",
        found["ONNX Runtime"].version,
        lambda model, folder: [
            *(cpp_example.build(), frn_onnx.get_library_path(), model, folder / "x.f32"),
        ],
    )
    for name, package in (
        ("ONNX Runtime in Node", "onnxruntime-node"),
        ("ONNX Runtime in WebAssembly", "onnxruntime-web"),
    ):
        found[name] = _node(package, modules)
    return found | {name: _python(other, *about) for name, about in fetched.items()}


def _python(interpreter: Path, package: str, function: str) -> Runtime:
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    version = subprocess.run([interpreter, "-c", asked], check=True, capture_output=True, text=True)
    return Runtime(
        package,
        version.stdout.strip(),
        lambda model, folder: [interpreter, PROGRAMS, function, model, folder / "x.npy"],
    )


def _node(package: str, modules: Path) -> Runtime:
    """The example for Node, which is the same program with either package."""
    source = (ROOT / "examples" / "node" / "run_frn.mjs").read_text()
    program = modules.parent / f"{package}.mjs"  # beside node_modules, where Node looks for them
    program.write_text(source.replace('"onnxruntime-node"', f'"{package}"'))
    version = json.loads((modules / package / "package.json").read_text())["version"]
    return Runtime(
        package, version, lambda model, folder: ["node", program, model, folder / "x.f32"]
    )


def try_one(runtime: Runtime, network: networks.Network, form: str) -> dict[str, Any]:
    """``{"error": ...}`` in units of the largest output, or ``{"refused": its last words}``."""
    model = network.folder / f"{form}.onnx"
    command = runtime.command(model, network.folder)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode != 0:
        said = re.sub(r"\[[\d:]+\] ", "", ran.stderr.replace(str(model), model.name))  # no times
        lines = [line.strip() for line in said.splitlines() if "FilterResponse" in line]
        return {"refused": (lines or said.splitlines())[-1][:_REASON_LETTERS]}
    # What a runtime says of itself stands before.
    numbers = ran.stdout.splitlines()[-network.expected.size :]
    y = np.array(numbers, float).reshape(network.expected.shape)
    return {"error": float(np.abs(y - network.expected).max() / network.expected.max())}


def run(made: dict[str, networks.Network], chosen: Iterable[str] = ()) -> dict[str, Any]:
    """What came of each runtime, network and form."""
    known = runtimes()
    return {
        name: {
            "package": known[name].package,
            "version": known[name].version,
            "results": {
                form: {
                    title: try_one(known[name], network, form) for title, network in made.items()
                }
                for form in FORMS
            },
        }
        for name in chosen or known
    }


def is_right(result: dict[str, Any]) -> bool:
    return result.get("error", np.inf) <= RIGHT


def _cell(results: dict[str, dict[str, Any]]) -> str:
    if all(map(is_right, results.values())):
        return f"{max(result['error'] for result in results.values()):.0e}"
    words = {
        title: "" if is_right(result) else "refused" if "refused" in result else "**wrong result**"
        for title, result in results.items()
    }
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{title}: {word or 'right'}" for title, word in words.items())


def sections() -> dict[str, str]:
    """The table of docs/platforms.md, from what was run last."""
    rows = []
    for name, found in json.loads(RESULTS.read_text()).items():
        works = [f for f in FORMS if all(map(is_right, found["results"][f].values()))]
        take = next((f"`{form}`" for form in ("portable", *FORMS) if form in works), "none")
        cells = (_cell(found["results"][form]) for form in FORMS)
        rows.append([name, f"`{found['package']}` {found['version']}", *cells, take])
    head = ("runtime", "package", *(f"`{form}`" for form in FORMS), "take")
    return {"runtimes": generated.table(head, rows, right=())}


def main(arguments: list[str]) -> int:
    if arguments != ["--table"]:
        with tempfile.TemporaryDirectory() as name:
            made = {
                "demo": networks.demo(Path(name, "demo"), epochs=12),
                "U-Net": networks.unet(Path(name, "unet"), size=64, width=16),
            }
            results = run(made)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    generated.write_sections(PAGE, sections())
    return 0
