"""Checks an installation and says, for what does not work, how to mend it."""

import importlib.metadata
import platform
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import frn_onnx
from frn_onnx import op, op_body, reference
from frn_onnx.errors import FrnError, FrnWarning
from frn_onnx.runtime import arrays, cuda_provider, library

# Optional packages: distribution -> what it is needed for.
_PACKAGES = {
    "onnxruntime": "sessions",
    "onnxruntime-gpu": "sessions on a GPU",
    "keras": "layers, export",
    "tensorflow": "export",
    "tensorflow-cpu": "export",
    "tf2onnx": "export",
}

# Distributions that all bring the package onnxruntime: two of them overwrite each other's files.
_RUNTIMES = re.compile(
    r"(onnxruntime|ort-nightly)(-(gpu|openvino|directml|rocm|migraphx|qnn|training|cann))?"
)


@dataclass(frozen=True)
class Check:
    """One line of the report; ok is None for something that may be absent."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class Report:
    """What :func:`examine` found."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that is there is broken."""
        return all(check.ok is not False for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def examine(model: str | None = None, providers: Sequence[str] | None = None) -> Report:
    """Looks at packages, the native library, its kernels and ONNX Runtime's providers.

    Args:
        model: path of an ONNX file; for each of its FRN nodes the report says what runs it.
        providers: those that a session of the model is to use (None: ONNX Runtime's own choice).
    """
    checks = [
        Check("frn_onnx", True, f"{frn_onnx.__version__}, Python {platform.python_version()}"),
        *map(_package, _PACKAGES),
        *_runtimes(),
        _check("native library", library.get_library_path),
        *_native_checks(),
        *_cuda(),
        *_cuda_kernels(),
        _check("session with the plugin", lambda: _session(plugin=True)),
        _check("session without it", lambda: _session(plugin=False)),
    ]
    if model is not None:
        checks += _nodes(model, providers)
    return Report(tuple(checks))


def _runtimes() -> list[Check]:
    """Two packages of ONNX Runtime at once, which no import tells."""
    installed = {
        re.sub("[-_.]+", "-", distribution.metadata["Name"].lower()): distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"]
    }
    found = {name: v for name, v in sorted(installed.items()) if _RUNTIMES.fullmatch(name)}
    if len(found) < 2:
        return []
    listed = " and ".join(f"{name} {version}" for name, version in found.items())
    return [
        Check(
            "onnxruntime packages",
            False,
            f"{listed} are installed and overwrite each other's files; keep one: pip uninstall -y "
            f"{' '.join(found)} && pip install {list(found)[-1]}",
        )
    ]


def _has_cuda_provider() -> bool:
    try:
        from frn_onnx.runtime.providers import CUDA

        return CUDA in library.onnxruntime().get_available_providers()
    except FrnError:
        return False  # said where the sessions are


def _cuda() -> list[Check]:
    """Whether the CUDA provider loads, where this ONNX Runtime has one."""
    if not _has_cuda_provider():
        return []
    problem = cuda_provider.problem()
    # No driver is no fault: the same package serves the CPU.
    ok = True if problem is None else None if cuda_provider.driver_version() is None else False
    return [Check("CUDA provider", ok, problem or "loads")]


def _cuda_kernels() -> list[Check]:
    """Says where the driver is older than the kernels of this build."""
    try:
        cuda = library.build_info()["cuda"]
    except FrnError:
        return []  # said where the module is
    problem = cuda_provider.kernels_problem(cuda["toolkit"]) if cuda else None
    if problem is None:
        return []
    # No fault where only the CPU is used, which the same package serves.
    return [Check("CUDA kernels", False if _has_cuda_provider() else None, problem)]


def _package(name: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, None, f"not installed (for {_PACKAGES[name]})")


def _check(name: str, probe: Callable[[], str]) -> Check:
    try:
        return Check(name, True, probe())
    except (FrnError, AssertionError) as error:
        return Check(name, False, str(error))
    except Exception as error:  # a broken installation fails in ways nobody listed
        return Check(name, False, f"{type(error).__name__}: {error}")


def _native_checks() -> list[Check]:
    """What only the compiled module knows; it may be absent."""
    if not library.has_native():
        return [Check("kernel on arrays", None, "not built (needs Python's headers)")]
    return [_check("build", _build), _check("kernel on arrays", _kernel)]


def _build() -> str:
    info = library.native().build_info()
    if info["version"] != frn_onnx.__version__:
        raise FrnError(
            f"the compiled module is of frn_onnx {info['version']}, the Python package of "
            f"{frn_onnx.__version__}; {library.REINSTALL}"
        )
    cuda = info["cuda"]
    kernels = f"built with CUDA {cuda['toolkit']}" if cuda else "built without CUDA"
    return f"CPU target {info['cpu_target']}, {kernels}"


def _example() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """x (NCHW), gamma, beta and tau, and what y must be."""
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 2.0, size=(2, 5, 9, 7)).astype(np.float32)
    params = [rng.normal(size=(5, 1, 1)).astype(np.float32) for _ in range(3)]
    return x, params, reference.frn(x, *params, axes=(2, 3))


def _difference(y: np.ndarray, expected: np.ndarray) -> str:
    worst = float(np.abs(y - expected).max())
    if not worst < 1e-5:
        raise AssertionError(f"computes wrong values: max error {worst:.1e}, expected under 1e-5")
    return f"max error {worst:.1e}"


def _kernel() -> str:
    x, params, expected = _example()
    return _difference(arrays.frn(x, *params, axes=(2, 3)), expected)


def _session(*, plugin: bool) -> str:
    from frn_onnx.runtime.session import InferenceSession

    x, params, expected = _example()
    names = op.INPUTS[:4]
    graph = helper.make_graph(
        [op.node(names, "Y", axes=(2, 3))],
        "doctor",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, x.shape)],
        [numpy_helper.from_array(p, name) for p, name in zip(params, names[1:], strict=True)],
    )
    types = {TensorProto.FLOAT}
    model = helper.make_model(
        graph,
        functions=[op_body.function_proto(opset=17, inputs=4, x_types=types, param_types=types)],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(op.DOMAIN, op.VERSION)],
        ir_version=op.FUNCTION_IR_VERSION,
    )
    session = InferenceSession(model, plugin=plugin)
    detail = _difference(session.run(None, {"X": x})[0], expected)
    return f"{detail}, providers {', '.join(session.get_providers())}"


def _nodes(model: str, providers: Sequence[str] | None) -> list[Check]:
    """A line for each FRN node of a model: what runs it, and why."""
    from frn_onnx.graph import inspect
    from frn_onnx.runtime import providers as providers_
    from frn_onnx.runtime.session import InferenceSession

    ort = library.onnxruntime()
    options = ort.SessionOptions()
    providers_.record(options)
    try:
        names = [node.name for node in inspect(model).frn]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FrnWarning)  # a fallback is a line of its own
            session = InferenceSession(model, options, providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        return [Check(f"model {model}", False, f"{type(error).__name__}: {error}")]
    used = ", ".join(session.get_providers())
    hint = "" if names else " ('frn-onnx fuse' finds FRN that is in standard ops)"
    checks = [
        Check(f"model {model}", True, f"{len(names)} FRN nodes{hint}, providers {used}"),
        Check("layout of FRN", True, str(session.blocked)),
    ]
    if problem := providers_.fallback(session, providers or ()):
        checks.append(Check("fallback", False, problem))
    placed = providers_.placements(session)
    if placed is None:
        return [
            *checks,
            Check("FRN nodes", None, "which provider runs them ONNX Runtime says from 1.24"),
        ]
    kernels = {placement.node: placement.provider for placement in placed if placement.node}
    unnamed = [placement.provider for placement in placed if not placement.node]
    for name in names:
        provider = kernels.get(name) or (unnamed.pop() if unnamed else None)
        if provider:
            detail = f"the library's kernel, {provider}"
        else:
            detail = (
                "the body of standard ops, since a provider that compiles whole graphs is used "
                f"({used})"
            )
        checks.append(Check(f"FRN {name}", True, detail))
    return checks
