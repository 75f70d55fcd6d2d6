"""ONNX Runtime's own session class, with the FRN kernels registered."""

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import onnx

from frn_onnx import op
from frn_onnx.errors import FrnWarning, PluginError
from frn_onnx.runtime import library
from frn_onnx.runtime import providers as providers_

ort: Any = library.onnxruntime()


class InferenceSession(ort.InferenceSession):
    """``onnxruntime.InferenceSession`` with the FRN plugin registered.

    Arguments, methods and returned values are ONNX Runtime's own, with two arguments more.

    Args:
        path_or_bytes: path of an ONNX or ORT file, its bytes, or an ``onnx.ModelProto``.
        sess_options: an ``onnxruntime.SessionOptions``; the plugin is registered on it. Providers,
            devices and policies that it chooses count as ``providers`` does.
        providers: execution providers in order of preference: names, or (name, options).
        provider_options: options for each provider, where ``providers`` holds only names.
        plugin: True registers the plugin, False does not. ``"auto"`` registers it when every
            provider is one it has kernels for (CPU, CUDA). Providers that compile whole graphs
            (OpenVINO, TensorRT, ...) get a portable model's function body instead, so that
            nothing is cut out of their graph.
        strict: True raises where a provider that was asked for is not used, or FRN nodes run on
            another than the first.
        **kwargs: ONNX Runtime's further arguments.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        PluginError: the plugin is wanted, and missing or unfit for this ONNX Runtime; or
            ``strict``, and what it forbids.

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
        strict: bool = False,
        **kwargs: Any,
    ) -> None:
        if plugin not in (True, False, "auto"):
            raise ValueError(f"plugin must be True, False or 'auto', received {plugin!r}")
        if isinstance(path_or_bytes, onnx.ModelProto):
            path_or_bytes = path_or_bytes.SerializeToString()
        names = [p if isinstance(p, str) else p[0] for p in providers or ()]
        names = names or providers_.chosen(sess_options) or []
        if plugin == "auto":
            used = set(names or ort.get_available_providers())
            plugin = used <= providers_.WITH_KERNELS or _needs_plugin(path_or_bytes)
        wants_cuda = providers_.CUDA in names
        watched = wants_cuda or strict
        if plugin or watched:
            sess_options = ort.SessionOptions() if sess_options is None else sess_options
        if plugin:
            library.register(sess_options)
        if watched:
            providers_.record(sess_options)
        if wants_cuda and hasattr(ort, "preload_dlls"):
            # CUDA and cuDNN from PyPI's wheels are not on the loader's path.
            ort.preload_dlls()
        super().__init__(path_or_bytes, sess_options, providers, provider_options, **kwargs)
        wanted = names if strict else [providers_.CUDA]
        if watched and (problem := providers_.fallback(self, wanted)):
            if strict:
                raise PluginError(problem)
            warnings.warn(problem, FrnWarning, stacklevel=2)


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
