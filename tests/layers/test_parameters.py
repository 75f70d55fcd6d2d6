"""Every argument of a layer changes what it does, and every option is used."""

import keras
import numpy as np
import pytest

from frn_onnx.layers import FRN, TLU, FilterResponseNormalization

TAU_OF_FRN = {"tau_initializer": "tau_initializers"}


def options(layer, parameter):
    """Initialiser, regulariser and constraint of a parameter, in the words of the layer."""
    names = [f"{parameter}_{kind}" for kind in ("initializer", "regularizer", "constraint")]
    return [TAU_OF_FRN.get(name, name) if layer is FRN else name for name in names]


OWNED = [
    (layer, parameter, {"affine": True} if parameter == "alpha" else {})
    for layer, parameters in (
        (FilterResponseNormalization, ("gamma", "beta", "tau")),
        (FRN, ("gamma", "beta", "tau")),
        (TLU, ("tau", "alpha")),
    )
    for parameter in parameters
]


@pytest.mark.parametrize(("layer", "parameter", "others"), OWNED)
def test_initializer(layer, parameter, others, rng):
    initializer, _, _ = options(layer, parameter)
    values = rng.normal(size=3).astype("f4")
    built = layer(**others, **{initializer: lambda shape, dtype: keras.ops.cast(values, dtype)})
    built.build((None, None, None, 3))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(getattr(built, parameter)), values)


@pytest.mark.parametrize(("layer", "parameter", "others"), OWNED)
def test_regularizer(layer, parameter, others):
    initializer, regularizer, _ = options(layer, parameter)
    given = {initializer: keras.initializers.Constant(2.0), regularizer: keras.regularizers.L1(0.5)}
    built = layer(**others, **given)
    built.build((None, None, None, 3))
    assert [float(loss) for loss in built.losses] == [3.0]


@pytest.mark.parametrize(("layer", "parameter", "others"), OWNED)
def test_constraint(layer, parameter, others, apply_gradient):
    _, _, constraint = options(layer, parameter)
    built = layer(**others, **{constraint: "non_neg"})
    built.build((None, None, None, 3))
    gradient = np.array([10.0, -10.0, 5.0], "f4")
    before = keras.ops.convert_to_numpy(getattr(built, parameter))
    after = apply_gradient(getattr(built, parameter), gradient)
    np.testing.assert_array_equal(after, np.maximum(before - gradient, 0))


def test_constraint_of_the_learned_epsilon(apply_gradient):
    built = FilterResponseNormalization(learned_epsilon=True, learned_epsilon_constraint="non_neg")
    built.build((None, None, None, 3))
    assert apply_gradient(built.epsilon_weight, 10.0) == 0


# The tests of values are in test_forward.py; that each of these matters is seen here.
@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0.3},
        {"axis": 2},
        {"axis": [2, 3]},
        {"data_format": "channels_first"},
        {"learned_epsilon": True},
        {"activation": None},
        {"activation": "swish"},
        {"activation": "relu"},
        {"gamma_initializer": "zeros"},
        {"beta_initializer": "ones"},
        {"tau_initializer": "ones"},
        {"dtype": "mixed_float16"},
    ],
    ids=str,
)
def test_every_argument_changes_the_answer(change, rng):
    x = rng.normal(-0.2, 0.3, (2, 4, 4, 4)).astype("f4")
    # tau is not 0, so that TLU differs from ReLU.
    tau = {} if "activation" in change else {"tau_initializer": keras.initializers.Constant(-0.5)}
    plain = FilterResponseNormalization(tau_initializer=keras.initializers.Constant(-0.5))
    changed = FilterResponseNormalization(**{**tau, **change})
    difference = keras.ops.convert_to_numpy(plain(x)) - keras.ops.convert_to_numpy(changed(x))
    assert np.abs(difference).max() > 0


@pytest.mark.parametrize(
    "change",
    [
        {"affine": True, "alpha_initializer": "ones"},
        {"tau_initializer": "ones"},
        {"axis": 1, "tau_initializer": "identity_row"},
        {"data_format": "channels_first", "tau_initializer": "identity_row"},
    ],
    ids=str,
)
def test_every_argument_of_tlu_changes_the_answer(change, rng):
    x = rng.normal(-0.2, 0.3, (2, 4, 4, 4)).astype("f4")

    def rising(shape, dtype):
        return keras.ops.cast(np.arange(shape[0]), dtype)

    change = {k: rising if v == "identity_row" else v for k, v in change.items()}
    initial = change.get("tau_initializer", "zeros") if len(change) > 1 else "zeros"
    plain, changed = TLU(tau_initializer=initial), TLU(**change)
    difference = keras.ops.convert_to_numpy(plain(x)) - keras.ops.convert_to_numpy(changed(x))
    assert np.abs(difference).max() > 0


def test_parameters_stay_in_float32_under_mixed_precision(rng):
    """1 + 1e-4 is 1 in float16; the large input makes the difference visible."""
    x = np.full((1, 2, 2, 1), 3.0, "f2")
    one, more = (
        FilterResponseNormalization(
            dtype="mixed_float16",
            gamma_initializer=keras.initializers.Constant(gamma),
            beta_initializer=keras.initializers.Constant(-1.0),
        )(x)
        for gamma in (1.0, 1.0001)
    )
    assert keras.ops.convert_to_numpy(more).max() > keras.ops.convert_to_numpy(one).max()
