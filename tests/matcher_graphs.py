"""Graphs of a few lines for the tests of the matcher, and what the matcher knows of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.matcher.trace import Trace, Tracer
from frn_onnx.graph.matcher.values import Known

# What ``body`` may name without making it: ints for axes, indices and shapes, and numbers.
_NAMES = {"half": 0.5, "quarter": 0.25, "minus": -1.0, "third": 1 / 3, "zero": 0.0, "one": 1.0}
_NAMES |= {"two": 2.0, "three": 3.0, "four": 4.0}


@dataclass(frozen=True)
class Lines:
    """A graph from x, written line by line; its last line makes its output.

    Attributes:
        body: nodes in the syntax of onnx.parser, one per line.
        x: the type of the input x.
        channel: the channel axis, None while it is not known.
        arrays: constants that the lines name, beside numbers such as ``half`` and ``two``.
        inputs: further inputs.
    """

    body: str
    x: str = "float[N,3,H,W]"
    channel: int | None = 1
    arrays: dict | None = None
    inputs: Sequence[str] = ()
    opset: int = 18

    @cached_property
    def proto(self) -> onnx.ModelProto:
        lines = [line.strip() for line in self.body.strip().splitlines()]
        last = lines[-1].split("=")[0].strip()
        inputs = ", ".join([f"{self.x} x", *self.inputs])
        model = parser.parse_model(
            f'<ir_version: 8, opset_import: ["": {self.opset}, "other": 1]>\n'
            f"g ({inputs}) => (float {last}) {{ {' '.join(lines)} }}"
        )
        model.graph.output[0].ClearField("type")
        made = {name for node in model.graph.node for name in node.output}
        known = {value.name for value in model.graph.input}
        for name in dict.fromkeys(i for node in model.graph.node for i in node.input if i):
            if name in made | known:
                continue
            array = (self.arrays or {}).get(name, _NAMES.get(name))
            if isinstance(array, float):
                array = np.float32(array)
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return model

    @cached_property
    def model(self) -> ir.Model:
        return ir.from_proto(self.proto)

    @cached_property
    def constants(self) -> Constants:
        return Constants(self.model)

    @cached_property
    def shapes(self) -> Shapes:
        return Shapes(self.model, [v for node in self.model.graph for v in node.outputs])

    @cached_property
    def order(self) -> dict[ir.Node, int]:
        return {node: place for place, node in enumerate(self.model.graph.all_nodes())}

    @cached_property
    def values(self) -> dict[str, ir.Value]:
        found = {value.name: value for value in self.model.graph.inputs}
        return found | {v.name: v for node in self.model.graph for v in node.outputs}

    @cached_property
    def frame(self) -> Frame:
        return Frame(self.shapes.of(self.values["x"]), self.channel)

    @cached_property
    def tracer(self) -> Tracer:
        return Tracer(self.constants, self.shapes, self.order)

    @cached_property
    def trace(self) -> Trace:
        return self.tracer.trace(self.frame, self.values["x"])

    def known(self, name: str | None = None) -> Known | None:
        """What is known of a tensor; None: of the output."""
        value = self.model.graph.outputs[0] if name is None else self.values[name]
        return self.trace.known.get(value)

    def form(self, name: str | None = None) -> Form | None:
        known = self.known(name)
        return known if isinstance(known, Form) else None


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def index(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def floats(*values: float, shape: Sequence[int] | None = None) -> np.ndarray:
    return np.array(values, np.float32).reshape(shape or (len(values),))
