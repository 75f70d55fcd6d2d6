"""The kinds of models that can be exported, each made one traced function."""

import os

import keras
import tensorflow as tf

from frn_onnx.errors import ArgumentError, ExportError, ModelError
from frn_onnx.export.keras_model import from_keras
from frn_onnx.export.trace import Source, brief, trace
from frn_onnx.layers import files

_DEFAULT_SIGNATURE = "serving_default"


def load(model, signature=None) -> Source:
    """Reads and traces a model of any kind that can be exported.

    Args:
        model: a Keras model, the path of a ``.keras`` or ``.h5`` file or of a SavedModel
            folder, or a ``tf.function``.
        signature: for a SavedModel, the name of the signature; for the others a
            ``tf.TensorSpec`` for each argument, where the model does not tell its inputs or
            where others are wanted.

    Raises:
        ModelError: a file is missing, is no model, or holds unknown layers.
        ArgumentError: ``model`` is of no known kind, or ``signature`` does not fit it.
        ExportError: the model cannot be traced.
    """
    if isinstance(model, (str, os.PathLike)):
        path = os.fspath(model)
        if os.path.isdir(path):
            return _from_saved_model(path, signature)
        model = files.read_keras(path)
    arguments = _arguments(signature)
    if isinstance(model, keras.Model):
        return from_keras(model, arguments)
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return _from_concrete(model, model.graph.name, model)
    if isinstance(model, tf.types.experimental.PolymorphicFunction):
        return _from_function(model, arguments)
    raise ArgumentError(
        "export: expected a Keras 3 model, the path of a .keras or .h5 file or of a SavedModel "
        f"folder, or a tf.function, received a {type(model).__module__}.{type(model).__qualname__}"
        ". A model of Keras 2 (tf_keras) can be written with tf.saved_model.save first."
    )


def _arguments(signature) -> tuple | None:
    """``signature`` as the arguments of a call, each a TensorSpec or a structure of them."""
    if signature is None:
        return None
    leaves = keras.tree.flatten(signature)
    if not leaves or not all(isinstance(leaf, tf.TensorSpec) for leaf in leaves):
        raise ArgumentError(
            "export: signature must be a tf.TensorSpec for each input, received "
            f"{signature!r}; the name of a signature is for SavedModel folders only"
        )
    return tuple(signature) if isinstance(signature, (list, tuple)) else (signature,)


def _from_saved_model(path: str, signature) -> Source:
    if not tf.saved_model.contains_saved_model(path):
        raise ModelError(
            f"export: the folder {path!r} is no SavedModel: it has no saved_model.pb; expected a "
            "folder written by model.export or tf.saved_model.save"
        )
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:
        raise ModelError(
            f"export: the SavedModel {path!r} cannot be loaded: {brief(error)}"
        ) from error
    names = sorted(loaded.signatures)
    if not names:
        raise ArgumentError(_without_signatures(path, loaded))
    if signature is None and len(names) == 1:
        signature = names[0]
    elif signature is None and _DEFAULT_SIGNATURE in names:
        signature = _DEFAULT_SIGNATURE
    if not isinstance(signature, str) or signature not in names:
        raise ArgumentError(
            f"export: the SavedModel {path!r} has the signatures {names}, received "
            f"signature={signature!r}; choose one of them by its name"
        )
    name = os.path.basename(os.path.normpath(path))
    return _from_concrete(loaded.signatures[signature], name, loaded)


def _without_signatures(path: str, loaded) -> str:
    kind = tf.types.experimental.PolymorphicFunction
    functions = [
        n for n in dir(loaded) if not n.startswith("_") and isinstance(vars(loaded).get(n), kind)
    ]
    found = f"its functions are {', '.join(functions)}" if functions else "it has no functions"
    way = (
        f"export one of them: export(tf.saved_model.load({path!r}).{functions[0]}, ...), or save"
        if functions
        else "save"
    )
    return (
        f"export: the SavedModel {path!r} has no signatures; {found}. {way[0].upper()}{way[1:]} it "
        "with tf.saved_model.save(module, path, signatures={'serving_default': module.FUNCTION})"
    )


def _from_function(function, arguments: tuple | None) -> Source:
    python = getattr(function, "python_function", function)
    name = getattr(python, "__name__", None) or getattr(python, "name", type(python).__name__)
    try:
        concrete = function.get_concrete_function(*(arguments or ()))
    except Exception as error:
        cure = "" if arguments else "; pass signature=[tf.TensorSpec(...)], one for each argument"
        raise ExportError(
            f"export: the tf.function {name!r} cannot be traced: {brief(error)}{cure}"
        ) from error
    return _from_concrete(concrete, name, function)


def _from_concrete(concrete, name: str, owner) -> Source:
    args, kwargs = concrete.structured_input_signature
    return trace(concrete, args, kwargs, name, owner, (), None)
