"""Reading Keras model files, with errors that tell a user what the file is instead."""

import os
import re
import zipfile

import keras

from frn_onnx.errors import ModelError
from frn_onnx.layers import CUSTOM_OBJECTS

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURE = b"PK\x03\x04"
_KEPT_LINES = 4
# Keras' words for .keras and for .h5 files.
_UNKNOWN = re.compile(r"Could not locate \w+ '[^']*'|Unknown \w+: '[^']*'")


def read_keras(path: str) -> keras.Model:
    """Loads a ``.keras`` or ``.h5`` file; FRN layers of keras-frn and TensorFlow Addons too.

    Raises:
        ModelError: the file is missing, is no Keras model, or holds unknown layers.
    """
    if not os.path.exists(path):
        raise ModelError(f"no file or folder {path!r}; expected a Keras model or SavedModel")
    kind = _kind(path)
    if kind is None:
        raise ModelError(
            f"{path!r} is not a Keras model: expected a .keras file (a zip archive), a .h5 "
            f"file (HDF5) or a SavedModel folder. {_instead(path)}"
        )
    try:
        model = keras.saving.load_model(path, custom_objects=CUSTOM_OBJECTS, compile=False)
    except Exception as error:  # Keras raises what each layer's own code raises.
        raise ModelError(_explain(path, kind, error)) from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"{path!r} holds a {type(model).__name__}, expected a keras.Model; put it in a "
            "model first, for example keras.Sequential([keras.Input(shape), layer])"
        )
    return model


def _kind(path: str) -> str | None:
    """``"keras"``, ``"hdf5"``, or None for anything else."""
    if zipfile.is_zipfile(path):
        return "keras" if path.endswith(".keras") else None
    with open(path, "rb") as file:
        is_hdf5 = file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE
    return "hdf5" if is_hdf5 and path.endswith((".h5", ".hdf5")) else None


def _instead(path: str) -> str:
    """What a file is that is no Keras model."""
    with open(path, "rb") as file:
        head = file.read(len(_ZIP_SIGNATURE))
    if not head:
        return "This file is empty (0 bytes); copy or download it again."
    if head == _ZIP_SIGNATURE and not zipfile.is_zipfile(path):
        return (
            "This file is damaged: it begins as a zip archive, and its end is missing; copy or "
            "download it again."
        )
    return "An ONNX file is what frn_onnx.fuse takes."


def _explain(path: str, kind: str, error: Exception) -> str:
    text = str(error)
    reason = "\n".join(text.strip().splitlines()[:_KEPT_LINES])
    if "No model config found" in text:
        return (
            f"{path!r} holds weights and no model; build the model, call "
            "model.load_weights on this file, and pass the model object"
        )
    unknown = _UNKNOWN.search(text)
    if unknown:
        return (
            f"{path!r} holds a layer that is not known here: {unknown[0]}; load the file "
            "with keras.saving.load_model(path, custom_objects={...}) and pass the model object"
        )
    return f"{path!r} cannot be loaded by Keras {keras.__version__} as {kind}: {reason}"
