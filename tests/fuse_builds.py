"""The graph of FRN in standard ops, piece by piece, for tests that change one piece."""

import numpy as np
from fuse_models import Layout, Net, Params


class Build(Net):
    """A graph from x to FRN of x, whose pieces a test replaces one at a time."""

    def __init__(self, layout: Layout, params: Params, *, opset: int = 18, static: bool = False):
        super().__init__(opset)
        self.layout, self.params = layout, params
        self.dtype = params.gamma.dtype
        self.x = self.input("x", layout.shape if static else layout.dynamic, self.dtype)
        for name in ("gamma", "beta", "tau"):
            values = getattr(params, name)
            if values is not None:
                setattr(self, name, self.const(layout.param(values), name))

    def scalar(self, value) -> str:
        return self.const(np.asarray(value, dtype=self.dtype))

    def square(self) -> str:
        return self("Mul", self.x, self.x)

    def nu2(self) -> str:
        return self.reduce("ReduceMean", self.square(), self.layout.axes)

    def shifted(self) -> str:
        return self("Add", self.nu2(), self.scalar(self.params.epsilon))

    def inverse(self) -> str:
        return self("Reciprocal", self("Sqrt", self.shifted()))

    def normal(self) -> str:
        return self("Mul", self.x, self.inverse())

    def affine(self) -> str:
        return self("Add", self("Mul", self.gamma, self.normal()), self.beta)

    def y(self) -> str:
        return self("Max", self.affine(), self.tau)
