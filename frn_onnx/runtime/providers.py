"""Which execution providers a session uses, and which of them runs each FRN node, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import TensorProto, helper

from frn_onnx import op
from frn_onnx.runtime import library, session_options
from frn_onnx.runtime.exclusive import exclusive

ort: Any = library.onnxruntime()

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# The library has kernels for the first two; Azure takes only its own nodes. Every other
# provider compiles as much of the graph as it knows: a kernel would cut a hole into that.
WITH_KERNELS = frozenset({CPU, CUDA, "AzureExecutionProvider"})
CPU_ONLY = WITH_KERNELS - {CUDA}

# Makes ONNX Runtime, from 1.24, remember which provider each node went to.
_RECORD = "session.record_ep_graph_assignment_info"
# Where a session writes files: not that of the probe.
_WRITES = {"ep.context_enable": "0"}


@dataclass(frozen=True)
class Placement:
    """Where an FRN node of a session runs.

    Attributes:
        node: its name in the file, or "" where it has none.
        provider: the execution provider that runs the library's kernel.
    """

    node: str
    provider: str


def chosen(options: Any) -> list[str] | None:
    """The providers that session options choose; None: they leave it open.

    Devices (``add_provider_for_devices``), names (``add_provider``) and policies cannot be read
    back, so a session of one node is made and asked.
    """
    if options is None or not session_options.chooses_providers(options):
        return None
    entries = {key: session_options.entry(options, key) for key in _WRITES}
    entries = {key: value for key, value in entries.items() if value is not None}
    silent = {"enable_profiling": False, "optimized_model_filepath": ""}
    with exclusive(), session_options.changed(options, **silent):
        try:
            for key in entries:
                options.add_session_config_entry(key, _WRITES[key])
            return ort.InferenceSession(_probe(), options).get_providers()
        finally:
            for key, value in entries.items():
                options.add_session_config_entry(key, value)


def record(options: Any) -> None:
    """Has a session of these options remember where its nodes went, for :func:`placements`."""
    options.add_session_config_entry(_RECORD, "1")


def placements(session: Any) -> list[Placement] | None:
    """Where the FRN nodes of a session run that was told to :func:`record` it.

    Nodes of which the body was taken are not among them. None: this ONNX Runtime does not say.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    return [
        Placement(node.name, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if node.domain in (op.DOMAIN, op.INTERNAL_DOMAIN)
    ]


def fallback(session: Any, wanted: Sequence[str]) -> str | None:
    """Why not everything runs where it was to; None where it does.

    Args:
        session: it was told to :func:`record` its nodes.
        wanted: the providers that were asked for, the preferred one first.
    """
    used = session.get_providers()
    for name in wanted:
        if name not in used:
            return (
                f"{name} was asked for and is not used, everything runs on {', '.join(used)}; "
                f"{_why_absent(name)}"
            )
    first = next(iter(wanted), None)
    elsewhere = [p for p in placements(session) or () if first not in (None, p.provider)]
    if not elsewhere:
        return None
    return (
        f"{len(elsewhere)} FRN nodes do not run on {first} ({elsewhere[0].node} on "
        f"{elsewhere[0].provider}): {_why_elsewhere(str(first))}"
    )


def _why_absent(name: str) -> str:
    if name == CUDA:
        return (
            "it needs an NVIDIA GPU with its driver, and 'pip install frn_onnx[gpu]' in place of "
            "onnxruntime ('frn-onnx doctor' says what is missing)"
        )
    available = ", ".join(ort.get_available_providers())
    return f"this onnxruntime has {available}, and more by register_execution_provider_library"


def _why_elsewhere(name: str) -> str:
    if name == CUDA:
        return (
            "the library was built without CUDA kernels (build it where nvcc is on the path), or "
            "the driver is too old for them (frn-onnx doctor says which), or they are of type "
            "double, which the CUDA kernels do not take"
        )
    return (
        f"the library has no kernels for {name}. It takes the nodes' bodies from a portable file: "
        "'frn-onnx lower MODEL --form portable'"
    )


def _probe() -> bytes:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])], "a", value[:1], value[1:]
    )
    imports = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
