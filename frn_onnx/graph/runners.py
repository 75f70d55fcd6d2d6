"""A model of any kind as something that takes arrays and gives arrays."""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from frn_onnx.errors import ArgumentError, ModelError, missing_dependency
from frn_onnx.graph import emulation, model_io, movement, noise, sites
from frn_onnx.graph.edit import constant
from frn_onnx.graph.matcher.shapes import FLOATS, cast_to
from frn_onnx.graph.op_types import is_tensor
from frn_onnx.graph.tolerance import is_float, unit_roundoff

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
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
        random_nodes: those that can be given seeds.
        seeded: makes a runner that draws the same in every run, from a seed for each of
            ``random_nodes``.
        moved: where integers become floats: makes a runner in which those are moved by so much,
            relative, at random, from a seed; None where there are none, or it cannot be done.
    """

    label: str
    inputs: Sequence[Spec]
    outputs: Sequence[str]
    run: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
    depth: int
    roundoff: float
    random_nodes: Sequence[noise.Key] = ()
    seeded: "Callable[[Sequence[int]], Runner] | None" = None
    moved: "Callable[[float, int], Runner] | None" = None


def runner(model: Any) -> Runner:
    """A runner for an ONNX or Keras model, in memory or in a file; a runner stays one.

    Raises:
        ModelError: the file cannot be read, or ONNX Runtime does not take the model.
        ArgumentError: ``model`` is of no known kind.
        DependencyError: what runs the model is not installed.
    """
    if isinstance(model, Runner):
        return model
    if isinstance(model, str | os.PathLike) and os.fspath(model).endswith(KERAS_SUFFIXES):
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
    model = model_io.load(source)
    label = os.fspath(source) if isinstance(source, str | os.PathLike) else model.graph.name or ""
    halves = emulation.halves_in(model)
    if not halves:
        return _plain(source, model, label)
    if ir.DataType.BFLOAT16 not in halves:
        _plain(source, model, label)  # ONNX Runtime has to take the file as it is, too
    emulated = emulation.emulated(model)
    return _in_halves(_plain(emulated, emulated, label), model)


def _plain(source: model_io.Source, model: ir.Model, label: str) -> Runner:
    """Runs a model as it is; ``source`` is what it was read from."""
    plugin = bool(sites.frn_sites(model)) and not sites.frn_functions(model)
    session = _session(source, plugin=plugin)
    names = [value.name for value in session.get_outputs()]
    inputs = specs(session)

    def feeds(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {spec.name: array for spec, array in zip(inputs, arrays, strict=True)}

    def running(copy: ir.Model) -> Runner:
        """In a new session for each run, which draws anew."""

        def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            return _run(_session(copy, plugin=plugin), names, feeds(arrays))

        return dataclasses.replace(plain, run=run)

    plain = Runner(
        label=label,
        inputs=inputs,
        outputs=names,
        run=lambda arrays: _run(session, names, feeds(arrays)),
        depth=_depth(model),
        roundoff=_roundoff(model),
        random_nodes=noise.keys(model),
    )
    # Otherwise nothing holds the model, with its weights, any longer.
    if plain.random_nodes:
        plain = dataclasses.replace(plain, seeded=lambda s: running(noise.seeded(model, s)))
    if not any(is_float(spec.dtype) for spec in inputs) or movement.is_quantised(model):
        plain = dataclasses.replace(
            plain, moved=lambda by, s: running(movement.moved(model, by, s))
        )
    return plain


def _in_halves(wide: Runner, model: ir.Model) -> Runner:
    """What runs a model in float32, with inputs and outputs in the types that it has."""
    halves = {dtype: dtype.numpy() for dtype in emulation.HALVES}
    # Sequences hold the same numbers in float32.
    made = [halves.get(v.dtype) if is_tensor(v) else None for v in model.graph.outputs]
    taken = {value.name: halves.get(value.dtype) for value in model.graph.inputs}

    def wrapped(runner: Runner) -> Runner:
        def run(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            given = [x.astype(s.dtype) for x, s in zip(arrays, runner.inputs, strict=True)]
            results = zip(runner.run(given), made, strict=True)
            return [y if dtype is None else y.astype(dtype) for y, dtype in results]

        inputs = [
            dataclasses.replace(spec, dtype=np.dtype(taken.get(spec.name) or spec.dtype))
            for spec in runner.inputs
        ]
        return dataclasses.replace(runner, inputs=inputs, run=run, roundoff=_roundoff(model))

    seeded, moved = wide.seeded, wide.moved
    return dataclasses.replace(
        wrapped(wide),
        seeded=seeded and (lambda seeds: wrapped(seeded(seeds))),
        moved=moved and (lambda by, seed: wrapped(moved(by, seed))),
    )


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

    roundoff = unit_roundoff(layer.compute_dtype for layer in layers)
    return Runner(label, inputs, outputs, run, len(layers), roundoff)


def _session(source: model_io.Source, *, plugin: bool) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise missing_dependency("onnxruntime", "cpu", "Running an ONNX model") from error
    session = ort.InferenceSession
    if plugin:
        import frn_onnx

        # What is compared is the file, not what a session makes of it.
        session = functools.partial(frn_onnx.InferenceSession, blocked=False)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        content: str | bytes
        if isinstance(source, str | os.PathLike):
            content = os.fspath(source)
        elif model_io.byte_size(source) <= model_io.LIMIT_BYTES:
            proto = source if isinstance(source, onnx.ModelProto) else model_io.load_proto(source)
            content = proto.SerializeToString()
        else:
            content = os.path.join(folder, "model.onnx")
            model_io.save(source, content)
        try:
            return session(content, options, providers=["CPUExecutionProvider"])
        except _ort_errors() as error:
            raise ModelError(f"ONNX Runtime does not take the model: {error}") from error


def _run(session: Any, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Runs a session so that an interrupt ends it: a signal waits for calls in the main thread."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4  # what fails is raised, too
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(session.run, names, feeds, options)
        try:
            return future.result()
        except BaseException:
            options.terminate = True
            raise


def _ort_errors() -> tuple[type[Exception], ...]:
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


def _depth(model: ir.Model) -> int:
    """The longest chain of nodes; a node with a subgraph or a function counts once."""
    depth: dict[ir.Value, int] = {}
    for node in model.graph:
        reached = 1 + max((depth.get(value, 0) for value in node.inputs if value), default=0)
        depth.update(dict.fromkeys(node.outputs, reached))
    return max(depth.values(), default=0)


def _roundoff(model: ir.Model) -> float:
    """Of the narrowest float type among inputs, outputs, casts, and weights that are not cast."""
    types = {value.dtype for value in (*model.graph.inputs, *model.graph.outputs)}
    for scope in sites.scopes(model):
        constants = list(scope.graph.initializers.values())
        for node in scope.graph:
            if node.op_type == "Cast":
                types.add(cast_to(node))
            if node.op_type == "Constant":
                constants += node.outputs
        for value in constants:
            tensor = constant(value)
            if tensor is not None and any(user.op_type != "Cast" for user in value.consumers()):
                types.add(tensor.dtype)
    return unit_roundoff(dtype.numpy() for dtype in types & FLOATS)
