"""The values of what is constant in a graph: initializers, Constant nodes, and small chains
of nodes over them, which many exporters leave unfolded."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from frn_onnx.graph import sites
from frn_onnx.graph.evaluator import Evaluator, renamed, wide
from frn_onnx.graph.standard import INITIALIZERS_ALONE, RANDOM, is_standard

# Parameters of an FRN layer are one value per channel. Anything larger than this is a weight
# or an activation, and is left unread, on disk if it is there.
LARGEST = 1 << 16
_DEEPEST = 64
# The opset from which on the inputs of a Scan begin with its states.
_SCAN_WITHOUT_BATCH = 9

# A constant chain may hold any op that has one result for one input, but for those that make much
# of little in a way that parameters are not made.
_NOT_FOLDED = RANDOM | frozenset(
    {"Loop", "If", "Scan", "Dropout", "Optional"}
    | {"CenterCropPad", "EyeLike", "OneHot", "Pad", "Resize", "Upsample"}
)


class Constants:
    """Looks up the constant value of an ``onnx_ir`` value; None where it has none.

    Args:
        model: the model the values are in. Before ``INITIALIZERS_ALONE`` every initializer had
            to be a graph input as well; later, one that is may be overridden by the caller,
            and is not constant.

    Attributes:
        inputs: of the model; those of a graph within it are no caller's.
    """

    def __init__(self, model: ir.Model) -> None:
        self._inputs_override = (model.ir_version or 0) >= INITIALIZERS_ALONE
        self._opset = sites.opset(model)
        self.inputs = frozenset(model.graph.inputs)
        self._unchanged = dict(_unchanged(model))
        self._known: dict[ir.Value, np.ndarray | None] = {}

    def get(self, value: ir.Value | None, depth: int = 0) -> np.ndarray | None:
        if value is None:
            return None
        if value not in self._known:
            self._known[value] = self._find(value, depth)
        return self._known[value]

    def number(self, value: ir.Value | None) -> float | None:
        """The number that a constant of one element holds."""
        array = self.get(value)
        return array.item() if array is not None and array.size == 1 else None

    def _find(self, value: ir.Value, depth: int) -> np.ndarray | None:
        if value.is_initializer():
            if value.is_graph_input() and self._inputs_override:
                return None
            return _array(value.const_value)
        if value in self._unchanged:
            return self.get(self._unchanged[value], depth + 1)
        node = value.producer()
        if not is_standard(node) or depth > _DEEPEST:
            return None
        if node.op_type == "Constant":
            return _array(ir.convenience.get_const_tensor(value))
        if not node.inputs or len(node.outputs) != 1:
            return None
        args: list[np.ndarray | None] = []
        for given in node.inputs:
            args.append(self.get(given, depth + 1))
            if args[-1] is None and given is not None:
                return None
        return self.fold(node, args)

    def fold_sizes(self, node: ir.Node, args: Sequence[Any]) -> np.ndarray | None:
        """:meth:`fold` in float64: sizes, and what is computed of them, are known exactly."""
        return self.fold(node, [None if arg is None else wide(arg) for arg in args])

    def fold(self, node: ir.Node, args: Sequence[Any]) -> np.ndarray | None:
        """The output of a node for constant inputs (None: an input left out)."""
        if node.op_type in _NOT_FOLDED or _least_size(node, args) > LARGEST:
            return None
        names = [f"i{i}" if arg is not None else "" for i, arg in enumerate(args)]
        proto = renamed(node, names, ["out"])
        try:
            made = Evaluator([proto], list(filter(None, names)), ["out"], self._opset)
            (result,) = made.run(arg for arg in args if arg is not None)
        except Exception:  # an op the evaluator does not have, or an invalid node: not constant
            return None
        return result if isinstance(result, np.ndarray) and result.size <= LARGEST else None


def _unchanged(model: ir.Model) -> Iterator[tuple[ir.Value, ir.Value | None]]:
    """The inputs of loops' bodies that are the same in every turn, and what they are.

    JAX hands everything that a scan reads through its body, tf.while_loop its weights.
    """
    loops = {"Loop", "Scan"} if sites.opset(model) >= _SCAN_WITHOUT_BATCH else {"Loop"}
    for node in model.graph.all_nodes():
        if not is_standard(node, *loops) or "body" not in node.attributes:
            continue
        body = node.attributes["body"].as_graph()
        # A Loop counts its turns and asks whether to go on; a Scan ends with what it takes apart.
        skipped = 2 if node.op_type == "Loop" else 0
        states = len(node.inputs) - node.attributes.get_int("num_scan_inputs", 0)
        first = node.inputs[skipped:states]
        after = body.outputs[skipped // 2 :]
        for given, left, value in zip(body.inputs[skipped:], after, first, strict=False):
            while is_standard(maker := left.producer(), "Identity"):
                left = maker.inputs[0]
            if left is given:
                yield given, value


def _least_size(node: ir.Node, args: Sequence[Any]) -> float:
    """The elements that the output of a node has at least: a mask is a few numbers, computed."""
    arrays = [
        arg.astype(np.float64) for arg in args if arg is not None and arg.dtype.kind in "biuf"
    ]
    with contextlib.suppress(ValueError, IndexError):
        if node.op_type in ("ConstantOfShape", "Expand"):
            return float(np.abs(arrays[-1]).prod())
        if node.op_type == "Tile":
            return float(arrays[0].size * arrays[1].prod())
        if node.op_type == "Range":
            start, limit, step = (array.item() for array in arrays)
            return (limit - start) / step if step else 0
        return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    return 0


def _array(tensor: ir.TensorProtocol | None) -> np.ndarray | None:
    if tensor is None or tensor.size > LARGEST or tensor.dtype == ir.DataType.STRING:
        return None
    return tensor.numpy()
