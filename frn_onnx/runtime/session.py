"""ONNX Runtime's own session class, with the FRN kernels registered."""

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import onnx

from frn_onnx import op
from frn_onnx.errors import FrnWarning
from frn_onnx.runtime import library

ort: Any = library.onnxruntime()

_CUDA = "CUDAExecutionProvider"
# Makes ONNX Runtime, from 1.24, remember which provider each node went to.
_RECORD = "session.record_ep_graph_assignment_info"

# The library has kernels for the first two; Azure takes only its own nodes. Every other
# provider compiles as much of the graph as it knows: a kernel would cut a hole into that.
_PROVIDERS_WITH_KERNELS = frozenset({"CPUExecutionProvider", _CUDA, "AzureExecutionProvider"})


class InferenceSession(ort.InferenceSession):
    """``onnxruntime.InferenceSession`` with the FRN plugin registered.

    Arguments, methods and returned values are ONNX Runtime's own, with one argument more.

    Args:
        path_or_bytes: path of an ONNX or ORT file, its bytes, or an ``onnx.ModelProto``.
        sess_options: an ``onnxruntime.SessionOptions``; the plugin is registered on it.
        providers: execution providers in order of preference: names, or (name, options).
        provider_options: options for each provider, where ``providers`` holds only names.
        plugin: True registers the plugin, False does not. ``"auto"`` registers it when every
            provider is one it has kernels for (CPU, CUDA). Providers that compile whole graphs
            (OpenVINO, TensorRT, ...) get a portable model's function body instead, so that
            nothing is cut out of their graph.
        **kwargs: ONNX Runtime's further arguments.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        PluginError: the plugin is wanted, and missing or unfit for this ONNX Runtime.

    Warns:
        FrnWarning: CUDA was asked for, and FRN nodes ended on another provider.

    Example:
        >>> session = frn_onnx.InferenceSession("model.onnx")
        >>> session.run(None, {"image": image})
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike | onnx.ModelProto,
        sess_options: Any = None,
        providers: Sequence[str | tuple[str, dict[Any, Any]]] | None = None,
        provider_options: Sequence[dict[Any, Any]] | None = None,
        *,
        plugin: bool | Literal["auto"] = "auto",
        **kwargs: Any,
    ) -> None:
        if plugin not in (True, False, "auto"):
            raise ValueError(f"plugin must be True, False or 'auto', received {plugin!r}")
        if isinstance(path_or_bytes, onnx.ModelProto):
            path_or_bytes = path_or_bytes.SerializeToString()
        names = [p if isinstance(p, str) else p[0] for p in providers or ()]
        if plugin == "auto":
            used = set(names or ort.get_available_providers())
            plugin = used <= _PROVIDERS_WITH_KERNELS or _needs_plugin(path_or_bytes)
        wants_cuda = _CUDA in names
        if plugin or wants_cuda:
            sess_options = ort.SessionOptions() if sess_options is None else sess_options
        if plugin:
            library.register(sess_options)
        if wants_cuda:
            sess_options.add_session_config_entry(_RECORD, "1")
            if hasattr(ort, "preload_dlls"):
                # CUDA and cuDNN from PyPI's wheels are not on the loader's path.
                ort.preload_dlls()
        super().__init__(path_or_bytes, sess_options, providers, provider_options, **kwargs)
        if wants_cuda and (problem := _not_on_cuda(self)):
            warnings.warn(problem, FrnWarning, stacklevel=2)


def _not_on_cuda(session: ort.InferenceSession) -> str | None:
    """Why FRN nodes of a session that was to use CUDA do not run there; None where they do."""
    if _CUDA not in session.get_providers():
        return (
            f"{_CUDA} was asked for and is not used, everything runs on "
            f"{', '.join(session.get_providers())}; it needs an NVIDIA GPU with its driver, and "
            "'pip install frn_onnx[gpu]' in place of onnxruntime"
        )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    elsewhere = [
        f"{node.name} on {part.ep_name}"
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if (node.domain, node.op_type) == (op.DOMAIN, op.OP_TYPE) and part.ep_name != _CUDA
    ]
    if not elsewhere:
        return None
    return (
        f"{len(elsewhere)} FRN nodes do not run on {_CUDA} ({elsewhere[0]}): either the library "
        "was built without CUDA kernels (frn-onnx doctor says so; build it where nvcc is on the "
        "path), or they are of type double, which the CUDA kernels do not take"
    )


def _needs_plugin(path_or_bytes: str | bytes | os.PathLike) -> bool:
    """Whether the model holds FRN nodes and no function body to inline for them."""
    if isinstance(path_or_bytes, bytes):
        model = onnx.load_model_from_string(path_or_bytes)
    elif os.fspath(path_or_bytes).endswith(".ort"):
        return True  # ONNX Runtime's own format: functions were inlined when it was written
    else:
        model = onnx.load(path_or_bytes, load_external_data=False)
    key = (op.DOMAIN, op.OP_TYPE)
    if any((f.domain, f.name) == key for f in model.functions):
        return False
    bodies = [model.graph.node, *(f.node for f in model.functions)]
    return any((n.domain, n.op_type) == key for body in bodies for n in _all_nodes(body))


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)
