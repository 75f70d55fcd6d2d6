"""Parameters that are initializers: prepared when the session is made, with the same result."""

import numpy as np
import ort_models
import pytest
from native_cases import DTYPES

AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}


@pytest.mark.parametrize("param", ["float32", "as X"])
@pytest.mark.parametrize("name", ["float32", "float16", "float64"])
@pytest.mark.parametrize("layout", AXES)
def test_same_bits_as_inputs(target, rng, layout, name, param):
    shape = (2, 5, 6, 7) if layout == "NCHW" else (2, 6, 7, 5)
    dtype, of_params = DTYPES[name], name if param == "as X" else "float32"
    like = (5, 1, 1) if layout == "NCHW" else (5,)
    x = {"X": rng.normal(size=shape).astype(dtype)}
    params = {each: rng.normal(size=like) for each in ("gamma", "beta", "tau")}
    params = {each: values.astype(DTYPES[of_params]) for each, values in params.items()}
    params["epsilon"] = rng.uniform(1, 2, like).astype(np.float32)
    made = {
        "x": shape,
        "axes": AXES[layout],
        "channels": 5,
        "inputs": ("X", "gamma", "beta", "tau", "epsilon"),
        "dtype": name,
        "param_dtype": of_params,
    }
    given = ort_models.session(ort_models.frn_model(**made)).run(None, x | params)[0]
    model = ort_models.with_constants(ort_models.frn_model(**made), params)
    constant = ort_models.session(model)
    for _ in range(2):
        assert constant.run(None, x)[0].tobytes() == given.tobytes()


def test_x_with_other_channels_is_refused(rng):
    """Constants are checked once; that X fits them, in every run."""
    feeds = {n: np.ones((5, 1, 1), np.float32) for n in ("gamma", "beta", "tau")}
    model = ort_models.frn_model(x=[None] * 4, axes=(2, 3), channels=5)
    session = ort_models.session(ort_models.with_constants(model, feeds))
    session.run(None, {"X": np.ones((1, 5, 2, 2), np.float32)})
    with pytest.raises(Exception, match=r"gamma must have shape \(6, 1, 1\).*received \(5, 1, 1\)"):
        session.run(None, {"X": np.ones((1, 6, 2, 2), np.float32)})


def test_saved_models_do_not_differ(tmp_path):
    """Names are made up for dimensions without one: the same in each session."""
    model = ort_models.frn_model(x=[None] * 4, axes=(2, 3), channels=5, nodes=3)
    files = [tmp_path / f"{i}.onnx" for i in range(3)]
    for file in files:
        ort_models.session(model, optimized_model_filepath=str(file))
    first, *others = [file.read_bytes() for file in files]
    assert all(other == first for other in others)
