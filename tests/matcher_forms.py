"""The forms that the tests of the algebra start from."""

import numpy as np

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.form import Form

FRAME = Frame(("N", 3, "H", "W"), 1)
FULL = FRAME.full
SMALL = ((0,), (1,), (), ())
SPATIAL = frozenset({2, 3})
COUNT = FRAME.size([2, 3])
SCALAR = ()

X = Form(axes=FULL, scale=np.ones(()), x_power=1)
SQUARE = X.but(x_power=2)
MEAN = SQUARE.but(axes=SMALL, over=SPATIAL)
NU2 = Form(axes=SMALL, scale=np.ones(()), nu_power=1)
SHIFTED = NU2.but(epsilon=np.asarray(0.5))
INVERSE = SHIFTED.but(nu_power=-0.5)
Y = X.but(nu_power=-0.5, epsilon=np.asarray(0.5))


def number(value, axes=SCALAR) -> Form:
    return fm.constant(np.asarray(value, dtype=np.float64), axes)


def channels(*values) -> Form:
    return number(values, ((1,), (), ()))


def assert_same(form: Form, expected: Form) -> None:
    assert form is not None
    assert form.axes == expected.axes
    assert form.channels == expected.channels
    assert form.same(expected), f"{form}\nexpected {expected}"
