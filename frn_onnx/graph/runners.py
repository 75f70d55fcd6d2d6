"""A model of any kind as something that takes arrays and gives arrays."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from onnx import AttributeProto, TensorProto

from frn_onnx.errors import ArgumentError, ModelError, missing_dependency
from frn_onnx.graph import model_io, scopes

_ROUNDOFF = {
    TensorProto.BFLOAT16: 2.0**-8,
    TensorProto.FLOAT16: 2.0**-11,
    TensorProto.FLOAT: 2.0**-24,
    TensorProto.DOUBLE: 2.0**-53,
}
_ORT_DTYPES = {
    "float": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "double": np.float64,
    "bool": np.bool_,
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True)
class Spec:
    """An input: its name, NumPy dtype, and a size, a symbol or None for each dimension."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class Runner:
    """A model that can be run.

    Attributes:
        label: what a report calls it.
        inputs: one entry for each input.
        outputs: the names of the outputs.
        run: takes one array for each input, gives one for each output.
        depth: the longest chain of operations between an input and an output.
        roundoff: unit roundoff of the narrowest float type it computes in.
    """

    label: str
    inputs: Sequence[Spec]
    outputs: Sequence[str]
    run: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    depth: int
    roundoff: float


def runner(model: Any) -> Runner:
    """A runner for an ONNX or Keras model, in memory or in a file; a runner stays one.

    Raises:
        ModelError: the file cannot be read, or ONNX Runtime does not take the model.
        ArgumentError: ``model`` is of no known kind.
        DependencyError: what runs the model is not installed.
    """
    if isinstance(model, Runner):
        return model
    if isinstance(model, str | os.PathLike) and Path(model).suffix in (".keras", ".h5", ".hdf5"):
        from frn_onnx.layers import files

        return keras_runner(files.read_keras(os.fspath(model)), os.fspath(model))
    if isinstance(model, str | os.PathLike | onnx.ModelProto | ir.Model):
        return onnx_runner(model)
    if any(base.__module__.startswith("keras.") for base in type(model).__mro__):
        return keras_runner(model, f"Keras model {model.name!r}")
    raise ArgumentError(
        "expected the path of an ONNX or .keras file, an onnx.ModelProto, an onnx_ir.Model or a "
        f"Keras model, received {type(model).__name__}"
    )


def onnx_runner(source: model_io.Source) -> Runner:
    """Runs in ONNX Runtime on the CPU; with the plugin where a file cannot do without."""
    model = model_io.load_proto(source)
    label = os.fspath(source) if isinstance(source, str | os.PathLike) else model.graph.name
    plugin = bool(scopes.frn_sites(model)) and scopes.frn_function(model) is None
    session = _session(model, source, plugin=plugin)
    names = [value.name for value in session.get_outputs()]
    inputs = specs(session)

    def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        feeds = {spec.name: array for spec, array in zip(inputs, arrays, strict=True)}
        return session.run(names, feeds)

    return Runner(label, inputs, names, run, _depth(model), _roundoff(model))


def specs(session: Any) -> list[Spec]:
    """What an ONNX Runtime session takes."""
    return [Spec(v.name, _dtype(v.type, v.name), tuple(v.shape)) for v in session.get_inputs()]


def keras_runner(model: Any, label: str) -> Runner:
    """Runs with ``training=False``, in the types that the model's policy says."""
    import keras

    if not getattr(model, "inputs", None):
        raise ArgumentError(
            f"{label}: its inputs are unknown; call it once on data of the right shape, or wrap it "
            "in keras.Model(inputs, outputs)"
        )
    layers = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]
    half = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 2.0**-53}
    inputs = [
        Spec(tensor.name, np.dtype(keras.backend.standardize_dtype(tensor.dtype)), tensor.shape)
        for tensor in model.inputs
    ]
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    outputs = getattr(model, "output_names", None) or [tensor.name for tensor in model.outputs]

    def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
        given = keras.tree.pack_sequence_as(structure, tensors)
        result = model(given, training=False)
        return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(result)]

    roundoff = max(half.get(layer.compute_dtype, 2.0**-24) for layer in layers)
    return Runner(label, inputs, outputs, run, len(layers), roundoff)


def _session(model: onnx.ModelProto, source: model_io.Source, *, plugin: bool) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise missing_dependency("onnxruntime", "cpu", "Running an ONNX model") from error
    session = ort.InferenceSession
    if plugin:
        import frn_onnx

        session = frn_onnx.InferenceSession
    options = ort.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        content: str | bytes
        if isinstance(source, str | os.PathLike):
            content = os.fspath(source)
        elif model_io.byte_size(model) <= model_io.LIMIT_BYTES:
            content = model.SerializeToString()
        else:
            content = os.path.join(folder, "model.onnx")
            model_io.save(model, str(content))
        try:
            return session(content, options, providers=["CPUExecutionProvider"])
        except ort_errors() as error:
            raise ModelError(f"ONNX Runtime does not take the model: {error}") from error


def ort_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its errors have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    members = (getattr(state, name) for name in dir(state))
    return tuple(m for m in members if isinstance(m, type) and issubclass(m, Exception))


def _dtype(ort_type: str, name: str) -> np.dtype:
    element = ort_type.removeprefix("tensor(").removesuffix(")")
    if element not in _ORT_DTYPES:
        raise ModelError(
            f"the input {name!r} is a {ort_type}; only models whose inputs are tensors of numbers "
            "can be compared"
        )
    return np.dtype(_ORT_DTYPES[element])


def _depth(model: onnx.ModelProto) -> int:
    """The longest chain of nodes; a node with a subgraph or a function counts once."""
    depth: dict[str, int] = {}
    for node in model.graph.node:
        reached = 1 + max((depth.get(name, 0) for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, reached))
    return max(depth.values(), default=0)


def _roundoff(model: onnx.ModelProto) -> float:
    """Of the narrowest float type among inputs, outputs, weights and casts."""
    types = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    types.update(tensor.data_type for tensor in scopes.tensors(model))
    for scope in scopes.scopes(model):
        for node in scope.body.node:
            if node.op_type == "Cast":
                types.update(a.i for a in node.attribute if a.type == AttributeProto.INT)
    return max((_ROUNDOFF[t] for t in types if t in _ROUNDOFF), default=2.0**-24)
