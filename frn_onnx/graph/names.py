"""Names that are free in a whole model, so that nothing new can collide or shadow."""

import onnx
from onnx import GraphProto

from frn_onnx.graph.scopes import scopes


class Names:
    """Gives out names that no value or node of the model has, nor any name of theirs begins with.

    "block/frn" is not free where there is a "block/frn/scale": a free name may be used as the
    first part of others.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._taken: set[str] = set()
        for scope in scopes(model):
            body = scope.body
            names = [name for n in body.node for name in (n.name, *n.input, *n.output)]
            if isinstance(body, GraphProto):
                names += [entry.name for entry in (*body.initializer, *body.input)]
            else:
                names += body.input
            for name in names:
                self._take(name)

    def free(self, wanted: str) -> str:
        """``wanted``, or with a number behind it where that is taken."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._take(name)
        return name

    def _take(self, name: str) -> None:
        while name not in self._taken:
            self._taken.add(name)
            name = name.rpartition("/")[0]
