"""A model as the server sees it: an ONNX Runtime session, its signature, how to run it."""

import ctypes
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frn_onnx.errors import DependencyError, ModelError, PluginError
from frn_onnx.serving import datatypes
from frn_onnx.serving.memory import MIB
from frn_onnx.serving.options import ModelOptions, check_name
from frn_onnx.serving.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from frn_onnx.serving.cuda_graphs import CudaGraphs

VERSION = "1"
_BFLOAT16_ONNX = 16  # onnx.TensorProto.BFLOAT16
# cuDNN's exhaustive search, ONNX Runtime's default, would run again for every new batch size.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
_GRAPH_HINT = (
    "a CUDA graph asks for every node in CUDA: `frn-onnx doctor MODEL` says which are not, and "
    "`frn-onnx convert --for cuda` mends transposed convolutions"
)
# After a run with so much input or output, ONNX Runtime gives back what its arena took for it.
_LARGE_BYTES = 8 * MIB


class Model:
    """An ONNX model, loaded and ready to run; FRN nodes run in the plugin's kernels.

    Args:
        options: its file, its name, and what runs it.

    Attributes:
        signature: its name and tensors.
        provider: the execution provider in use.
        on_cpu: whether that is the CPU's.
        layout: one line that says where its FRN nodes work, and why.

    Raises:
        ModelError: the file cannot be loaded, takes or gives something else than tensors, or takes
            tensors of any number of axes.
        ArgumentError: a bad name.
        DependencyError: device is ``"cuda"`` and this ONNX Runtime has none.
    """

    def __init__(self, options: ModelOptions) -> None:
        from frn_onnx.runtime.providers import CPU

        path = options.model
        name = check_name(options.served_name)
        self._session = _session(options)
        self.provider: str = self._session.get_providers()[0]
        self.on_cpu = self.provider == CPU
        self.layout = str(self._session.blocked)
        inputs = _specs(path, "input", self._session.get_inputs())
        outputs = _specs(path, "output", self._session.get_outputs())
        _check_ranks(path, inputs)
        self.signature = Signature(name, VERSION, inputs, outputs)
        specs = (*inputs.values(), *outputs.values())
        used = {spec.datatype for spec in specs}
        self._has_bfloat16 = "BF16" in used
        self._run_options = _run_options()
        self._was_large = False
        if {"BF16", "BYTES"} <= used:
            raise ModelError(
                f"{os.fspath(path)!r} cannot be served: ONNX Runtime's Python API takes bfloat16 "
                "only as OrtValues and strings only as arrays, and this model has both; "
                "cast one of them inside the model"
            )
        self._graphs = _graphs(path, self._session, used) if options.cuda_graph else None

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Runs the model once.

        Args:
            feeds: input name -> array of the input's NumPy type (``datatypes.NUMPY``).
            outputs: the names of the outputs to compute.

        Returns: output name -> array.
        """
        is_large = _nbytes(feeds) >= _LARGE_BYTES
        # The run after a large one gives back what that one's outputs were in.
        self._run_options = _run_options(shrink=is_large or self._was_large)
        results = self._run(feeds, outputs)
        self._was_large = is_large or _nbytes(results) >= _LARGE_BYTES
        return results

    def _run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        if self._graphs is not None:
            return self._graphs.run(feeds, outputs, self._run_options)
        if not self._has_bfloat16:
            arrays = self._session.run(list(outputs), dict(feeds), self._run_options)
            return dict(zip(outputs, arrays, strict=True))
        import onnxruntime as ort

        values = {}
        for name, array in feeds.items():
            if self.signature.inputs[name].datatype == "BF16":
                make = ort.OrtValue.ortvalue_from_numpy_with_onnx_type
                values[name] = make(np.ascontiguousarray(array), _BFLOAT16_ONNX)
            else:
                values[name] = ort.OrtValue.ortvalue_from_numpy(array)
        results = self._session.run_with_ort_values(list(outputs), values, self._run_options)
        return {name: _to_numpy(value) for name, value in zip(outputs, results, strict=True)}

    def learn_ranks(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Takes the ranks of outputs from a run: ONNX Runtime calls one of any rank a scalar."""
        specs = {
            name: dataclasses.replace(spec, shape=spec.shape or (-1,) * outputs[name].ndim)
            for name, spec in self.signature.outputs.items()
        }
        self.signature = dataclasses.replace(self.signature, outputs=specs)

    @property
    def runs_to_warm_up(self) -> int:
        """Runs of a shape until it is as fast as it will be."""
        if self._graphs is None:
            return 1
        from frn_onnx.serving.cuda_graphs import RUNS_TO_REPLAY

        return RUNS_TO_REPLAY

    def stop(self) -> None:
        """Makes the run that is under way, if any, end early with an exception."""
        self._run_options.terminate = True


def _nbytes(arrays: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _run_options(*, shrink: bool = False) -> Any:
    """Options for one run: its failure is told by its exception alone, not on stderr as well."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4  # fatal
    if shrink:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _to_numpy(value: Any) -> np.ndarray:
    """An OrtValue on the CPU as an array; ``OrtValue.numpy()`` knows no bfloat16."""
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    shape = value.shape()
    raw = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape))
    return np.frombuffer(raw, datatypes.NUMPY["BF16"]).reshape(shape)


def _session(wanted: ModelOptions) -> Any:
    """A session on the device asked for."""
    path, device = wanted.model, wanted.device
    if not Path(path).is_file():
        raise ModelError(f"there is no model file at {os.fspath(path)!r}")
    from frn_onnx.runtime.providers import CPU, CUDA
    from frn_onnx.runtime.session import InferenceSession, ort

    has_cuda = CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DependencyError(
            "device 'cuda' needs an ONNX Runtime with CUDA, and this one has only "
            f"{', '.join(ort.get_available_providers())}; install it with: "
            "pip uninstall onnxruntime && pip install 'frn_onnx[gpu]'"
        )
    cuda_options = dict(_CUDA_OPTIONS)
    if wanted.cuda_graph:
        cuda_options["enable_cuda_graph"] = "1"
    if wanted.gpu_mem_limit_mb is not None:
        # The arena takes what it is asked for and no power of two, which would soon be over it.
        cuda_options["gpu_mem_limit"] = str(wanted.gpu_mem_limit_mb * MIB)
        cuda_options["arena_extend_strategy"] = "kSameAsRequested"
    uses_cuda = has_cuda and device != "cpu"
    providers: list[Any] = [(CUDA, cuda_options), CPU] if uses_cuda else [CPU]
    options = ort.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    # Else the threads spin for milliseconds after each run, on cores that the host needs to read
    # the next request: 5 ms of CPU per request were 2 with this, for an image and a tiny model.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = InferenceSession(os.fspath(path), options, providers=providers, fuse=wanted.fuse)
    except PluginError:
        raise
    except Exception as error:
        hint = f"; {_GRAPH_HINT}" if wanted.cuda_graph else ""
        raise ModelError(f"ONNX Runtime cannot load {os.fspath(path)!r}: {error}{hint}") from error
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise ModelError(
            "device 'cuda' was asked for, and ONNX Runtime could not start its CUDA provider and "
            "took the CPU; `frn-onnx doctor` shows what is missing, --device cpu serves anyway"
        )
    return session


def _graphs(path: str | os.PathLike, session: Any, used: set[str]) -> "CudaGraphs":
    """What runs the session through CUDA graphs; used: the datatypes of its tensors."""
    if kept := used & {"BF16", "BYTES"}:
        raise ModelError(
            f"{os.fspath(path)!r} cannot be served with --cuda-graph: ONNX Runtime's Python API "
            f"cannot keep {', '.join(sorted(kept))} on a GPU; cast it inside the model"
        )
    from frn_onnx.serving.cuda_graphs import CudaGraphs

    return CudaGraphs(session)


def _check_ranks(path: str | os.PathLike, inputs: Mapping[str, TensorSpec]) -> None:
    """Raises ModelError if an input has any number of axes: ONNX Runtime tells it as a scalar.

    A file in ONNX Runtime's own format is believed: nothing else reads it.
    """
    from frn_onnx.runtime.preparation import is_ort_format

    if all(spec.shape for spec in inputs.values()) or is_ort_format(path):
        return
    import onnx

    for value in onnx.load(os.fspath(path), load_external_data=False).graph.input:
        if value.name in inputs and not value.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"{os.fspath(path)!r} cannot be served: its input {value.name!r} has no shape; "
                "export the model with one, whose axes may be of any length"
            )


def _specs(path: str | os.PathLike, kind: str, nodes: Sequence[Any]) -> dict[str, TensorSpec]:
    """The session's inputs or outputs, in the protocol's words."""
    specs = {}
    for node in nodes:
        datatype = datatypes.FROM_ORT.get(node.type)
        if datatype is None:
            raise ModelError(
                f"{os.fspath(path)!r} cannot be served: its {kind} {node.name!r} is a {node.type}, "
                f"and the protocol carries only tensors of {', '.join(datatypes.NUMPY)}"
            )
        shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape)
        specs[node.name] = TensorSpec(node.name, datatype, shape)
    return specs
