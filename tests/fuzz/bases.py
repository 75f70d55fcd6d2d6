"""FRN in standard ops, each piece in one of the ways in which people's files have it."""

from random import Random

import numpy as np
from onnx import TensorProto

from fuzz.graphs import Graph

OPSETS = (11, 13, 17, 18, 23)
LAYOUTS = ("NCHW", "NHWC", "NCW", "NWC", "NCDHW", "NDHWC")
_STEPS = ("transpose", "transpose", "frn", "unary", "binary", "constant", "constant", "shape")
_TYPES = (TensorProto.FLOAT,) * 6 + (TensorProto.FLOAT16, TensorProto.DOUBLE)


class Base:
    """Builds one graph; every choice is the random generator's."""

    def __init__(self, random: Random) -> None:
        self.random = random
        layout = random.choice(LAYOUTS)
        self.rank, self.channel = len(layout), layout.index("C")
        self.axes = [i for i in range(1, self.rank) if i != self.channel]
        kind = random.choice(["distinct", "distinct", "any", "ones", "equal"])
        pick = {
            "distinct": lambda i: (2, 3, 5, 4, 2)[i],
            "any": lambda i: random.choice((1, 2, 3, 4)),
            "ones": lambda i: random.choice((1, 1, 1, 2, 3)),
            "equal": lambda i: 3,
        }[kind]
        shape = [pick(i) for i in range(self.rank)]
        self.count = shape[self.channel]
        names = [letter if random.random() < 0.8 else letter + "2" for letter in layout]
        open_ = random.choice(["none", "all but C", "all", "some"])
        is_open = {
            "none": lambda i: False,
            "all but C": lambda i: i != self.channel,
            "all": lambda i: True,
            "some": lambda i: random.random() < 0.5,
        }[open_]
        dims = [names[i] if is_open(i) else shape[i] for i in range(self.rank)]
        self.g = Graph(random, dims, shape, random.choice(_TYPES), random.choice(OPSETS))
        self.g.channels = frozenset({self.channel})

    def one_of(self, *options):
        return self.random.choice(options)

    # Constants.

    def number(self, value: float) -> str:
        shape = self.one_of((), (), (1,), (1,) * self.rank)
        return self.g.constant(np.full(shape, value))

    def parameter(self, low: float = -2.0, high: float = 2.0) -> str:
        """One value per channel, or one, in a shape that stands at the channel axis."""
        if self.random.random() < 0.12:
            return self.number(self.random.uniform(low, high))
        values = np.array([self.random.uniform(low, high) for _ in range(self.count)])
        behind = self.rank - 1 - self.channel
        front = self.one_of(0, 0, self.channel)
        shape = (1,) * front + (self.count,) + (1,) * behind
        if self.random.random() < 0.1:
            flat = self.g.constant(values)
            target = self.g.constant(np.array(shape))
            return self.g("Reshape", flat, target)
        return self.g.constant(values.reshape(shape))

    # Ways of writing one thing.

    def square(self, x: str) -> str:
        g = self.g
        way = self.one_of("mul", "mul", "pow", "abs", "negated", "scaled", "einsum")
        if way == "mul":
            return g("Mul", x, x)
        if way == "pow":
            return g("Pow", x, self.number(2))
        if way == "abs":
            a = g("Abs", x)
            return g("Mul", a, a)
        if way == "negated":
            return g("Mul", g("Neg", x), g("Neg", x))
        if way == "scaled":
            return g("Mul", g("Mul", x, x), self.number(1))
        letters = "abcde"[: self.rank]
        return g("Einsum", x, x, equation=f"{letters},{letters}->{letters}")

    def reduce(self, op: str, x: str, axes: list[int], keepdims: int = 1) -> str:
        axes = self.random.sample(axes, len(axes))
        axes = [axis - self.rank if self.random.random() < 0.3 else axis for axis in axes]
        if self.g.opset >= (13 if op == "ReduceSum" else 18):
            return self.g(op, x, self.g.constant(np.array(axes, np.int64)), keepdims=keepdims)
        return self.g(op, x, axes=axes, keepdims=keepdims)

    def unsqueeze(self, x: str, axes: list[int]) -> str:
        if self.g.opset >= 13:
            return self.g("Unsqueeze", x, self.g.constant(np.array(axes, np.int64)))
        return self.g("Unsqueeze", x, axes=axes)

    def squeeze(self, x: str, axes: list[int]) -> str:
        if self.g.opset >= 13:
            return self.g("Squeeze", x, self.g.constant(np.array(axes, np.int64)))
        return self.g("Squeeze", x, axes=axes)

    def size_of(self, x: str, axes: list[int]) -> str:
        """The number of elements along axes, by shape arithmetic."""
        g, shape = self.g, self.g("Shape", x)
        count = None
        for axis in axes:
            size = g("Gather", shape, g.constant(np.array(axis)))
            count = size if count is None else g("Mul", count, size)
        return g("Cast", count, to=g.type)

    def nu2(self, x: str) -> str:
        g, pooled = self.g, self.channel == 1
        ways = ["mean", "mean", "one by one", "sum", "counted", "dropped", "sumsquare", "norm"]
        ways += ["pool", "pool", "window", "lp"] if pooled else ["moved"]
        way = self.one_of(*ways)
        if way == "mean":
            return self.reduce("ReduceMean", self.square(x), self.axes)
        if way == "one by one":
            result = self.square(x)
            for axis in self.axes:
                result = self.reduce("ReduceMean", result, [axis])
            return result
        if way in ("sum", "sumsquare"):
            op, source = "ReduceSumSquare", x
            if way == "sum":
                op, source = self.one_of("ReduceSum", "ReduceL1"), self.square(x)
            count = np.prod([g.shape[axis] for axis in self.axes])
            if any(isinstance(g.dims[axis], str) for axis in self.axes):
                return g("Div", self.reduce(op, source, self.axes), self.size_of(x, self.axes))
            return g("Mul", self.reduce(op, source, self.axes), self.number(1 / count))
        if way == "counted":
            total = self.reduce("ReduceSum", self.square(x), self.axes)
            return g("Div", total, self.size_of(self.one_of(x, "x"), self.axes))
        if way == "dropped":
            dropped = self.reduce("ReduceMean", self.square(x), self.axes, keepdims=0)
            return self.unsqueeze(dropped, self.axes)
        if way == "norm":
            norm = self.reduce("ReduceL2", x, self.axes)
            return g("Div", g("Mul", norm, norm), self.size_of(x, self.axes))
        if way == "pool":
            return g("GlobalAveragePool", self.square(x))
        if way == "window":
            kernel = [g.shape[axis] for axis in self.axes]
            return g("AveragePool", self.square(x), kernel_shape=kernel)
        if way == "lp":
            kernel = [g.shape[axis] for axis in self.axes]
            op, more = self.one_of(("GlobalLpPool", {}), ("LpPool", {"kernel_shape": kernel}))
            if self.random.random() < 0.5:
                return g("Div", g(op, self.square(x), p=1, **more), self.size_of(x, self.axes))
            norm = g(op, x, p=2, **more)
            return g("Div", g("Mul", norm, norm), self.size_of(x, self.axes))
        to_front = [0, self.rank - 1, *range(1, self.rank - 1)]
        mean = g("GlobalAveragePool", g("Transpose", self.square(x), perm=to_front))
        return g("Transpose", mean, perm=[int(i) for i in np.argsort(to_front)])

    def shifted(self, x: str) -> str:
        g, nu2 = self.g, self.nu2(x)
        epsilon = self.random.uniform(0.05, 0.6)
        way = self.one_of("plain", "plain", "channels", "abs", "twice", "minus")
        if way == "channels":
            return g("Add", nu2, self.parameter(0.05, 0.6))
        if way == "abs":
            return g("Add", nu2, g("Abs", self.number(-epsilon)))
        if way == "twice":
            return g("Add", g("Add", nu2, self.number(epsilon)), self.number(0.1))
        if way == "minus":
            return g("Sub", nu2, self.number(-epsilon))
        return g("Add", *self.random.sample([nu2, self.number(epsilon)], 2))

    def normal(self, x: str) -> str:
        """x / sqrt(nu2 + epsilon), times gamma."""
        g, shifted = self.g, self.shifted(x)
        gamma = None if self.random.random() < 0.1 else self.parameter()
        way = self.one_of("div", "reciprocal", "reciprocal", "one over", "power", "half", "folded")
        if way in ("div", "half"):
            root = g("Sqrt", shifted) if way == "div" else g("Pow", shifted, self.number(0.5))
            normal = g("Div", x, self.spread(root, x))
            return normal if gamma is None else g("Mul", normal, gamma)
        if way == "power":
            inverse = g("Pow", shifted, self.number(-0.5))
        elif way == "one over":
            inverse = g("Div", self.number(1), g("Sqrt", shifted))
        else:
            inverse = g("Reciprocal", g("Sqrt", shifted))
        if gamma is not None and way == "folded":
            return g("Mul", x, g("Mul", inverse, gamma))
        normal = g("Mul", *self.random.sample([x, self.spread(inverse, x)], 2))
        return normal if gamma is None else g("Mul", *self.random.sample([normal, gamma], 2))

    def spread(self, small: str, x: str) -> str:
        """The statistic repeated to the shape of x, as PyTorch's expand does."""
        return self.g("Expand", small, self.g("Shape", x)) if self.random.random() < 0.1 else small

    def threshold(self, y: str) -> str:
        g = self.g
        tau = self.parameter()
        way = self.one_of("none", "max", "max", "relu", "where", "where not", "clip", "swish")
        if way == "max":
            return g("Max", *self.random.sample([y, tau], 2))
        if way == "relu":
            return g("Add", g("Relu", g("Sub", y, tau)), tau)
        if way == "where":
            return g("Where", g(self.one_of("Greater", "GreaterOrEqual"), y, tau), y, tau)
        if way == "where not":
            return g("Where", g(self.one_of("Less", "LessOrEqual"), y, tau), tau, y)
        if way == "clip":
            return g("Clip", y, g.constant(np.array(self.random.uniform(-1, 1))))
        return g("Mul", y, g("Sigmoid", y)) if way == "swish" else y

    def frn(self, x: str) -> str:
        if self.g.opset >= 23 and self.channel == 1 and self.random.random() < 0.3:
            # A scale as large as the plane says how large the plane is.
            stated = all(isinstance(self.g.dims[axis], int) for axis in self.axes)
            scale = np.ones([self.g.shape[axis] if stated else 1 for axis in self.axes])
            normal = self.g("RMSNormalization", x, self.g.constant(scale), axis=2, epsilon=0.25)
            y = self.g("Mul", normal, self.parameter())
        else:
            y = self.normal(x)
        if self.random.random() < 0.85:
            y = self.g(*self.one_of(("Add", y, self.parameter()), ("Sub", y, self.parameter())))
        return self.threshold(y)

    # Whole graphs.

    def single(self) -> Graph:
        """y = FRN(x), perhaps with something before."""
        x = "x"
        if self.random.random() < 0.3:
            x = self.g("Sigmoid", self.g("Mul", x, self.number(2)))
        y = self.frn(x)
        self.g.outputs = [y]
        if self.random.random() < 0.15:
            self.g.outputs.append(self.random.choice(self.g.nodes).output)
        return self.g

    def region(self) -> Graph:
        """FRN, elementwise ops and Transposes among each other."""
        g = self.g
        g.channels = frozenset(range(1, self.rank))
        self.to_last = [0, *range(2, self.rank), 1]
        self.to_first = [0, self.rank - 1, *range(1, self.rank - 1)]
        pool = ["x"]
        steps = ["transpose", "frn", *self.random.choices(_STEPS, k=self.random.randint(2, 6))]
        for step in [*steps[self.random.choice((0, 0, 0, 1)) :], "transpose"]:
            x = pool[-1] if self.random.random() < 0.8 else self.random.choice(pool)
            pool.append(self.step(step, x, pool))
        g.outputs = [pool[-1]] if pool[-1] != "x" else [g("Identity", "x")]
        if self.random.random() < 0.3:
            g.outputs.append(self.random.choice(pool[1:]))
        g.outputs = [name for name in g.outputs if name != "x"]  # one may be there twice
        return g

    def step(self, step: str, x: str, pool: list[str]) -> str:
        g = self.g
        if step == "transpose":
            other = [0, *self.random.sample(range(1, self.rank), self.rank - 1)]
            perms = (self.to_last, self.to_last, self.to_first, self.to_first, other)
            return g("Transpose", x, perm=self.random.choice(perms))
        if step == "frn":
            self.point_at(x)
            return self.frn(x)
        if step == "constant":
            shape = [self.one_of(1, size) for size in g.array(x).shape]
            shape = self.one_of(shape, shape, shape[1:], shape[2:], [1, *shape])
            values = np.random.default_rng(len(pool)).normal(size=shape)
            made = g(self.one_of("Add", "Mul", "Max", "Sub"), x, g.constant(values))
            return made if g.array(made).ndim == self.rank else x
        if step == "binary":
            same = [v for v in pool if g.array(v).shape == g.array(x).shape]
            op = self.one_of("Add", "Mul", "Concat", "Max")
            extra = {"axis": self.random.randrange(self.rank)} if op == "Concat" else {}
            return g(op, x, self.random.choice(same), **extra)
        if step == "shape":
            sizes = g("Cast", g("Shape", x), to=g.type)
            last = g("Gather", sizes, g.constant(np.array(self.random.randrange(self.rank))))
            return g("Mul", x, last)
        return g(self.one_of("Relu", "Sigmoid", "Neg", "Abs", "Tanh"), x)

    def point_at(self, x: str) -> None:
        """Chooses the channel axis of a tensor in between, whose sizes are its own."""
        self.channel = self.one_of(1, self.rank - 1)
        self.axes = [i for i in range(1, self.rank) if i != self.channel]
        self.count = self.g.array(x).shape[self.channel]
