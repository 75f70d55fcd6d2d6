"""ONNX Runtime's own session class, with the FRN kernels registered."""

import contextlib
import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx

from frn_onnx import op
from frn_onnx.errors import ArgumentError, FrnWarning, PluginError
from frn_onnx.runtime import library, preparation
from frn_onnx.runtime import providers as providers_
from frn_onnx.runtime.cache import Cache
from frn_onnx.runtime.exclusive import exclusive

ort: Any = library.onnxruntime()


class InferenceSession(ort.InferenceSession):
    """``onnxruntime.InferenceSession`` with the FRN plugin registered.

    Arguments, methods and returned values are ONNX Runtime's own, with five arguments more.

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
        blocked: ``"auto"``: on the CPU provider alone, FRN beside convolutions works in the
            blocked layout that they use, where that is possible; results differ by rounding.
            False leaves that out, as it must be where the session options replace weights
            (``add_initializer``). ``session.blocked`` says what was done, or why not.
        fuse: True fuses FRN that the model has in standard ops, as :func:`frn_onnx.fuse` does;
            nothing is written. ModelError where the model cannot be read.
        cache: a folder in which what ``blocked`` and ``fuse`` make is kept for the next start;
            None takes the one that the environment's ``FRN_ONNX_CACHE`` names, if it does. Of
            the session options it knows nothing: custom-op libraries of others are not there.
        strict: True raises where a provider that was asked for is not used, or FRN nodes run on
            another than the first.
        **kwargs: ONNX Runtime's further arguments.

    Raises:
        ArgumentError: ``plugin`` or ``blocked`` has another value than these; ``providers`` is
            a string, ``sess_options`` no SessionOptions.
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
        blocked: Literal[False, "auto"] = "auto",
        fuse: bool = False,
        cache: str | os.PathLike | None = None,
        strict: bool = False,
        **kwargs: Any,
    ) -> None:
        if plugin not in (True, False, "auto"):
            raise ArgumentError(f"plugin must be True, False or 'auto', received {plugin!r}")
        if blocked not in (False, "auto"):
            raise ArgumentError(f"blocked must be False or 'auto', received {blocked!r}")
        if isinstance(providers, str):  # ONNX Runtime takes its letters for names
            raise ArgumentError(
                f"providers must be a sequence, received {providers!r}; pass [{providers!r}]"
            )
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
        on_cpu = set(names or ort.get_available_providers()) <= providers_.CPU_ONLY
        reason = _not_blocked(blocked, bool(plugin), on_cpu, kwargs)
        folder = os.environ.get("FRN_ONNX_CACHE") if cache is None else cache
        cached = Cache(os.path.expanduser(folder)) if folder else None
        with exclusive(), contextlib.ExitStack() as stack:
            while True:
                made = _temporary_folder(stack) if fuse or reason is None else None
                prepared = preparation.prepare(
                    path_or_bytes, sess_options, made, fuse=fuse, reason=reason, cache=cached
                )
                try:
                    with prepared.level(sess_options):
                        super().__init__(
                            prepared.model, sess_options, providers, provider_options, **kwargs
                        )
                    break
                except Exception as error:  # its exceptions share no public base class
                    known = prepared.report.reason
                    if cached is not None:  # another process may have removed what was in it
                        reason, cached = reason or known, None
                    elif known is None:
                        reason = str(error)
                    else:
                        raise
        self.blocked = prepared.report
        if prepared.model is not path_or_bytes:
            # Of what set_providers() makes the session anew; what was made is gone.
            self._model_path, self._model_bytes = _path_and_bytes(path_or_bytes)
        wanted = names if strict else [providers_.CUDA]
        if watched and (problem := providers_.fallback(self, wanted)):
            if strict:
                raise PluginError(problem)
            warnings.warn(problem, FrnWarning, stacklevel=2)


def _temporary_folder(stack: contextlib.ExitStack) -> Path | None:
    """A folder that is there as long as the stack; None where there can be none."""
    try:
        made = tempfile.TemporaryDirectory(prefix="frn_onnx-", ignore_cleanup_errors=True)
        return Path(stack.enter_context(made))
    except OSError:
        return None


def _path_and_bytes(model: str | bytes | os.PathLike) -> tuple[str | None, bytes | None]:
    return (None, model) if isinstance(model, bytes) else (os.fspath(model), None)


def _not_blocked(
    blocked: Literal[False, "auto"], plugin: bool, on_cpu: bool, further: dict[str, Any]
) -> str | None:
    """Why FRN is not to be blocked; None where it may be."""
    if not blocked:
        return "blocked=False was passed"
    if not plugin:
        return "the plugin is not used"
    if not on_cpu:
        return "the model may run elsewhere than on the CPU"
    return f"{', '.join(further)} was passed" if further else None


def _needs_plugin(path_or_bytes: str | bytes | os.PathLike) -> bool:
    """Whether the model holds an FRN node and no function body to inline for it."""
    if preparation.is_ort_format(path_or_bytes):
        return True  # functions were inlined when it was written
    if isinstance(path_or_bytes, bytes):
        model = onnx.load_model_from_string(path_or_bytes)
    else:
        model = onnx.load(path_or_bytes, load_external_data=False)
    inlined = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    nodes = itertools.chain.from_iterable(map(_all_nodes, bodies))
    return any(op.is_frn(node) and (node.domain, node.op_type) not in inlined for node in nodes)


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all_nodes(graph.node)
