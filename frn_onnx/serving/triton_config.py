"""A model's configuration in Triton's words: for Triton's repository, and for clients that ask.

Source: ModelConfig,
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from collections.abc import Iterable
from typing import Any

from frn_onnx.serving.pbtxt import Enum
from frn_onnx.serving.signature import Signature, TensorSpec

# What an image has along its channel axis: grey, colour, colour with alpha.
_CHANNELS = (1, 3, 4)


def model_config(signature: Signature, max_batch: int, kind: str, count: int = 1) -> dict[str, Any]:
    """What Triton has to know.

    Args:
        signature: the model's name and tensors.
        max_batch: most samples put together, 0 where the model takes no batches.
        kind: ``"gpu"`` or ``"cpu"``.
        count: instances on each device.
    """
    config: dict[str, Any] = {
        "name": signature.name,
        "backend": "onnxruntime",
        "max_batch_size": max_batch,
        "input": [_tensor(spec, max_batch) for spec in signature.inputs.values()],
        "output": [_tensor(spec, max_batch) for spec in signature.outputs.values()],
        "instance_group": [{"kind": Enum(f"KIND_{kind.upper()}"), "count": count}],
    }
    if max_batch:
        config["dynamic_batching"] = {}
    return config


def client_config(signature: Signature, max_batch: int, kind: str) -> dict[str, Any]:
    """The same as Triton answers it to clients, with the defaults that they read written out."""
    config = model_config(signature, max_batch, kind)
    config["platform"] = "onnxruntime_onnx"
    config["version_policy"] = {"latest": {"num_versions": 1}}
    config["instance_group"][0]["name"] = signature.name
    for entry in config["input"]:
        entry["format"] = _image_format(entry["dims"])
        entry |= {"is_shape_tensor": False, "allow_ragged_batch": False, "optional": False}
    for entry in config["output"]:
        entry |= {"label_filename": "", "is_shape_tensor": False}
    return config


def data_type(spec: TensorSpec) -> Enum:
    """Triton's name of a datatype."""
    return Enum("TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}")


def dims(shape: Iterable[int], max_batch: int) -> dict[str, Any]:
    """The dims without the batch axis; Triton wants at least one, and a reshape to none."""
    lengths = list(shape)[1 if max_batch else 0 :]
    return {"dims": lengths} if lengths else {"dims": [1], "reshape": {"shape": []}}


def _tensor(spec: TensorSpec, max_batch: int) -> dict[str, Any]:
    return {"name": spec.name, "data_type": data_type(spec), **dims(spec.shape, max_batch)}


def _image_format(lengths: list[int]) -> str:
    """Where the channels of an image are, if this is one for certain."""
    if len(lengths) != 3 or (lengths[0] in _CHANNELS) == (lengths[2] in _CHANNELS):
        return "FORMAT_NONE"
    return "FORMAT_NCHW" if lengths[0] in _CHANNELS else "FORMAT_NHWC"
