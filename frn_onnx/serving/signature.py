"""What a model takes and gives, in the protocol's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model.

    Attributes:
        name: as in the ONNX file.
        datatype: the V2 name of the element type.
        shape: one length per axis; -1 is any length.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As the protocol's model metadata writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Signature:
    """A model's name and its tensors.

    Attributes:
        name, version: as in the URL.
        inputs, outputs: name -> TensorSpec, in the model's order.
    """

    name: str
    version: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @property
    def has_batch_axis(self) -> bool:
        """Whether axis 0 of every input and output has any length, so may be a batch."""
        specs = (*self.inputs.values(), *self.outputs.values())
        return bool(self.inputs) and all(spec.shape[:1] == (-1,) for spec in specs)

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "onnxruntime_onnx",
            "inputs": [spec.to_dict() for spec in self.inputs.values()],
            "outputs": [spec.to_dict() for spec in self.outputs.values()],
        }
