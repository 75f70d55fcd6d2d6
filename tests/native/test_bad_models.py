"""Models that ONNX Runtime with the plugin refuses, and what it then says."""

import numpy as np
import onnx
import ort_models
import pytest
from onnx import helper, numpy_helper

from frn_onnx import op

SHAPE, AXES = (2, 5, 6, 7), (2, 3)


def refused(pattern, **changes):
    """A session of the changed model is refused, when it is created, with a text like this."""
    arguments = {"x": SHAPE, "axes": AXES, "channels": 5, **changes}
    with pytest.raises(Exception, match=pattern) as error:
        ort_models.session(ort_models.frn_model(**arguments))
    assert "(node 'frn_Y')" in str(error.value)


@pytest.mark.parametrize(
    "axes",
    [(2, 2), (0, 1), (2, 4), (-4, 2), (1, 2, 3, 4)],
    ids=["twice", "batch", "too large", "too small", "rank 6"],
)
def test_axes(axes):
    refused(
        r"axes must name 1 to 3 distinct spatial axes within .* received axes=\(.*Use for example",
        axes=axes,
        x=[None] * (len(axes) + 2),
    )


def test_axes_missing():
    model = ort_models.frn_model(x=SHAPE, axes=AXES, channels=5)
    del model.graph.node[0].attribute[0]
    with pytest.raises(Exception, match=r"the attribute axes \(ints\) is missing.*\[2, 3\]"):
        ort_models.session(model)


def test_rank_of_x():
    refused(r"X must have rank 3 .* received shape \(2, 5, 6, 7\).*axes one entry", axes=(2,))
    refused(r"X must have rank 4 .* received shape \(2, 5\)", x=(2, 5))


def test_epsilon():
    refused(r"epsilon must be finite and not negative, received -0\.1.*absolute", epsilon=-0.1)
    refused("epsilon must be finite", epsilon=float("nan"))


# Of each type that an attribute can have.
VALUES = {
    "float": 2.0,
    "int": 2,
    "string": "2",
    "floats": [1.0, 2.0],
    "ints": [2, 3],
    "strings": ["1", "2"],
    "tensor": numpy_helper.from_array(np.float32([1])),
    "graph": onnx.GraphProto(name="empty"),
}


def with_attribute(name, kind):
    """A model whose FRN node has this attribute, of this type."""
    model = ort_models.frn_model(x=SHAPE, axes=AXES, channels=5)
    attributes = model.graph.node[0].attribute
    attributes.remove(next(a for a in attributes if a.name == name))
    attributes.append(helper.make_attribute(name, VALUES[kind]))
    return model


@pytest.mark.parametrize("kind", sorted(VALUES.keys() - {"float"}))
def test_epsilon_of_another_type(kind):
    """It is not taken for absent, which would give another result."""
    received = "the integer 2" if kind == "int" else "another type"
    with pytest.raises(Exception, match=f"epsilon must be a float, received {received}.*node 'frn"):
        ort_models.session(with_attribute("epsilon", kind))


@pytest.mark.parametrize("kind", sorted(VALUES.keys() - {"ints"}))
def test_axes_of_another_type(kind):
    with pytest.raises(Exception, match=r"axes \(ints\) is missing, empty or of another type"):
        ort_models.session(with_attribute("axes", kind))


@pytest.mark.parametrize(("name", "kind"), [("epsilon", "float"), ("axes", "ints")])
def test_attributes_of_their_types(name, kind):
    ort_models.session(with_attribute(name, kind))


@pytest.mark.parametrize("param_dtype", ["int8", "float32"])
def test_type_of_x(param_dtype):
    refused(
        "X must be float, float16, bfloat16 or double, received int8. Insert a Cast",
        dtype="int8",
        param_dtype=param_dtype,
    )


@pytest.mark.parametrize(
    ("dtype", "param_dtype", "accepted"),
    [
        ("float32", "float64", "float"),
        ("float32", "float16", "float"),
        ("float16", "float64", r"float16 \(the type of X\) or float"),
        ("bfloat16", "float16", r"bfloat16 \(the type of X\) or float"),
        ("float64", "float16", r"double \(the type of X\) or float"),
        ("float32", "int8", "float"),
    ],
)
def test_type_of_gamma(dtype, param_dtype, accepted):
    names = {"float64": "double"}
    refused(
        f"gamma must be {accepted}, received {names.get(param_dtype, param_dtype)}",
        dtype=dtype,
        param_dtype=param_dtype,
    )


def test_type_of_epsilon():
    model = ort_models.frn_model(x=SHAPE, axes=AXES, channels=5, inputs=op.INPUTS)
    model.graph.input[-1].type.tensor_type.elem_type = ort_models.ELEMENT_TYPES["float64"]
    with pytest.raises(Exception, match="epsilon must be float, received double"):
        ort_models.session(model)


def test_channels_known_to_differ():
    refused(
        r"gamma must have shape \(5, 1, 1\): one value for each of the 5 channels of X.*"
        r"received \(4, 1, 1\). Channels are read from axis 1 of X, which has shape \(2, 5, 6, 7\)",
        channels=4,
    )


@pytest.mark.parametrize("short", ["gamma", "beta", "tau"])
def test_constants_of_different_lengths(short):
    """Nothing is known of X; neither is read beyond its end."""
    model = ort_models.frn_model(x=None, axes=AXES, channels=5)
    lengths = dict.fromkeys(("gamma", "beta", "tau"), 100_000) | {short: 3}
    params = {name: np.ones((length, 1, 1), np.float32) for name, length in lengths.items()}
    ort_models.with_constants(model, params)
    with pytest.raises(Exception, match=r"must have shape \((3|100000), 1, 1\).*received"):
        ort_models.session(model)


@pytest.mark.parametrize("name", ["gamma", "beta", "tau", "epsilon"])
@pytest.mark.parametrize("received", [(4, 1, 1), (5,), (5, 1, 2), (1, 5, 1, 1), ()])
def test_parameter_shape_at_run_time(name, received):
    model = ort_models.frn_model(x=["N", "C", "H", "W"], axes=AXES, channels=5, inputs=op.INPUTS)
    for value in model.graph.input:
        if value.name == name:
            value.type.tensor_type.ClearField("shape")
    session = ort_models.session(model)
    feeds = {n: np.ones((5, 1, 1), np.float32) for n in op.INPUTS[1:]}
    feeds["X"] = np.ones(SHAPE, np.float32)
    feeds[name] = np.ones(received, np.float32)
    shown = str(received).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(
        Exception, match=rf"{name} must have shape \(5, 1, 1\).*each of the 5 channels.*{shown}"
    ):
        session.run(None, feeds)


def test_rank_at_run_time():
    session = ort_models.session(ort_models.frn_model(x=None, axes=AXES, channels=5))
    p = np.ones((5, 1, 1), np.float32)
    with pytest.raises(Exception, match=r"X must have rank 4.*received shape \(2, 5, 6\)"):
        session.run(None, {"X": np.ones((2, 5, 6), np.float32), "gamma": p, "beta": p, "tau": p})


def test_forced_target_is_checked_when_the_session_is_made(monkeypatch):
    monkeypatch.setenv("FRN_ONNX_CPU_TARGET", "quantum")
    with pytest.raises(Exception, match=r"FRN_ONNX_CPU_TARGET must be one of .*'quantum'"):
        ort_models.session(ort_models.frn_model(x=SHAPE, axes=AXES, channels=5))
