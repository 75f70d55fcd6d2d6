"""What a Keras model tells of its inputs, its outputs and its FRN layers."""

import contextlib
import dis
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from frn_onnx.errors import ArgumentError, ExportError
from frn_onnx.export.trace import Source, trace

# The layers that are one FRN each: ours, and by name those of keras-frn and TensorFlow Addons.
FRN_LAYERS = ("FilterResponseNormalization", "FRN")


def from_keras(model: keras.Model, arguments: tuple | None) -> Source:
    """Traces a Keras model for inference.

    Args:
        model: of any kind: functional, Sequential or subclassed.
        arguments: of the call, each a TensorSpec or a structure of them; None: those that the
            model was made for.

    Raises:
        ArgumentError: the inputs are unknown, or their number is another than that of
            ``arguments``.
        ExportError: Keras runs on another backend, or the model cannot be traced.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"export: Keras runs on {keras.backend.backend()}, but the export needs TensorFlow: "
            "set KERAS_BACKEND=tensorflow before Keras is imported, and load the model from its "
            "file"
        )
    output_names: Sequence[str] = ()
    known: tuple | None
    if isinstance(model, keras.Sequential):
        # A Sequential that was built by its first call has that call's batch size in its input.
        known = tuple(_any_batch(_spec(t)) for t in model.inputs) if model.built else None
        output_names = [model.layers[-1].name] if model.built else ()
    elif hasattr(model, "inputs"):
        known = (keras.tree.map_structure(_spec, model.input),)
        output_names = model.output_names
    else:
        if arguments is None:
            _refuse_optional(model)
        known = _named(_first_call(model), model)
        arguments = _named(arguments, model)
    if arguments is None and known is None:
        raise ArgumentError(
            f"export: the inputs of {model.name!r} ({type(model).__name__}) are unknown, since it "
            "has not been called yet; call it once on data, or pass "
            "signature=[tf.TensorSpec((None, H, W, C))]"
        )
    if output_names and arguments is not None:
        arguments = _override(known, arguments, model.name)
    arguments = arguments or known
    if not model.built:
        # Outside of the trace, or the calls that build the layers would be counted, too.
        model(*keras.tree.map_structure(lambda s: keras.KerasTensor(s.shape, s.dtype), arguments))
    calls: list[str] = []

    def call(*args):
        # TensorFlow calls again where the first call made variables: of layers that are not built
        # though their model says that it is.
        calls.clear()
        with _frn_calls(calls):
            return model(*args, training=False)

    return trace(call, arguments, {}, model.name, model, output_names, calls)


def _spec(tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name)


def _any_batch(spec: tf.TensorSpec) -> tf.TensorSpec:
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name)


def _override(known: tuple, arguments: tuple, name: str) -> tuple:
    """``arguments`` in the structure and under the names of the inputs that are known."""
    old, new = keras.tree.flatten(known), keras.tree.flatten(arguments)
    if len(old) != len(new):
        raise ArgumentError(
            f"export: {name!r} has {len(old)} inputs ({', '.join(s.name for s in old)}), received "
            f"a signature of {len(new)}: {new}"
        )
    named = [
        tf.TensorSpec(n.shape, n.dtype, n.name or o.name) for o, n in zip(old, new, strict=True)
    ]
    return keras.tree.pack_sequence_as(known, named)


def _first_call(model: keras.Model) -> tuple | None:
    """The arguments that a subclassed model was built with, for batches of any size."""
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or {"": config.get("input_shape")}

    def specs(shape):
        if isinstance(shape, Mapping):
            return {key: specs(value) for key, value in shape.items()}
        if all(isinstance(d, int) or d is None for d in shape):
            return _any_batch(tf.TensorSpec(shape, model.variable_dtype))
        return [specs(value) for value in shape]

    if any(shape is None for shape in shapes.values()):
        return None
    return tuple(specs(shape) for shape in shapes.values())


def _refuse_optional(model: keras.Model) -> None:
    """Keras does not keep whether a call gave the parameters that may be left out."""
    stars: dict[Any, str] = {
        inspect.Parameter.VAR_POSITIONAL: "*",
        inspect.Parameter.VAR_KEYWORD: "**",
    }
    first, *others = inspect.signature(model.call).parameters.values()
    optional = [
        stars.get(p.kind, "") + p.name
        for p in ([first] if first.kind in stars else []) + others
        if p.name != "training"
        and (p.name != "mask" or _reads_mask(model))
        and (p.default is not p.empty or p.kind is p.KEYWORD_ONLY or p.kind in stars)
    ]
    if optional:
        raise ArgumentError(
            f"export: {model.name!r} ({type(model).__name__}) can be called with or without "
            f"{', '.join(map(repr, optional))}, and Keras does not tell which; pass signature= "
            "with a tf.TensorSpec for each argument in the order of call, the optional ones too if "
            "they are inputs (a keyword-only one needs a tf.function around the model, and so does "
            "one behind 'training')"
        )


def _reads_mask(model: keras.Model) -> bool:
    """Whether ``call`` does something with its mask; many only take one, as Keras 2 asked for."""
    code = inspect.unwrap(model.call).__code__
    # Python 3.13 loads two variables in one step.
    return any("mask" in step.argrepr.split(", ") for step in dis.get_instructions(code))


def _named(arguments: tuple | None, model: keras.Model) -> tuple | None:
    """The specs of a subclassed model's arguments, named after keys and parameters of call."""
    if arguments is None:
        return None
    parameters = list(inspect.signature(model.call).parameters)
    named = []
    for path, spec in keras.tree.flatten_with_path(arguments):
        words = [*parameters[path[0] : path[0] + 1], *map(str, path[1:])]
        keys = [part for part in path if isinstance(part, str)]
        name = spec.name or "_".join(keys or words)
        named.append(tf.TensorSpec(spec.shape, spec.dtype, name))
    return keras.tree.pack_sequence_as(arguments, named)


@contextlib.contextmanager
def _frn_calls(calls: list[str]) -> Iterator[None]:
    """Notes each call of an FRN layer; a shared layer, or one in a shared model, several times.

    The graph of a Keras model does not tell: it holds a nested model as one node.
    """
    original = keras.layers.Layer.__call__
    inside = False

    def noted(layer, *args, **kwargs):
        nonlocal inside
        if isinstance(layer, keras.layers.TimeDistributed) and _is_frn(layer.layer):
            with _noted_steps(layer.layer, calls):
                return original(layer, *args, **kwargs)
        if inside or not _is_frn(layer):
            return original(layer, *args, **kwargs)
        calls.append(layer.path or layer.name)
        inside = True
        try:
            return original(layer, *args, **kwargs)
        finally:
            inside = False

    keras.layers.Layer.__call__ = noted
    try:
        yield
    finally:
        keras.layers.Layer.__call__ = original


@contextlib.contextmanager
def _noted_steps(layer: keras.layers.Layer, calls: list[str]) -> Iterator[None]:
    """TimeDistributed goes past ``__call__`` of its layer, once for each step."""
    call = layer.call

    def noted(*args, **kwargs):
        calls.append(layer.path or layer.name)
        return call(*args, **kwargs)

    object.__setattr__(layer, "call", noted)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def _is_frn(layer: keras.layers.Layer) -> bool:
    return any(c.__name__ in FRN_LAYERS for c in type(layer).__mro__)
