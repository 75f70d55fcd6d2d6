"""Configs, files and weights come back as they were."""

import copy
import inspect
import json

import keras
import numpy as np
import pytest

from frn_onnx.layers import FRN, TLU, FilterResponseNormalization

LAYERS = [FilterResponseNormalization, FRN, TLU]
# Every argument away from its default, as far as they go together.
FULL = [
    (
        FilterResponseNormalization,
        {
            "epsilon": 0.25,
            "axis": [2, 3],
            "learned_epsilon": True,
            "learned_epsilon_constraint": keras.constraints.MinMaxNorm(0.0, 0.5),
        },
        ("gamma", "beta", "tau"),
    ),
    (
        FilterResponseNormalization,
        {"epsilon": 0.5, "axis": 1, "activation": "gelu"},
        ("gamma", "beta"),
    ),
    (FilterResponseNormalization, {"activation": None, "data_format": "channels_first"}, ()),
    (FRN, {"epsilon": -0.25}, ("gamma", "beta", "tau")),
    (TLU, {"affine": True, "data_format": "channels_first"}, ("tau", "alpha")),
    (TLU, {"axis": 1}, ("tau",)),
]


def options(layer, parameters):
    found = {}
    for number, parameter in enumerate(parameters):
        plural = "s" if layer is FRN and parameter == "tau" else ""
        constant = keras.initializers.Constant(0.5 + number)
        found[f"{parameter}_initializer{plural}"] = constant
        found[f"{parameter}_regularizer"] = keras.regularizers.L2(0.25 + number)
        found[f"{parameter}_constraint"] = keras.constraints.MaxNorm(2.0 + number)
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_config_keys_are_the_constructors_arguments(layer):
    own = {p for p in inspect.signature(layer).parameters if p != "kwargs"}
    assert set(layer().get_config()) == own | {"name", "trainable", "dtype"}


@pytest.mark.parametrize(("layer", "arguments", "parameters"), FULL)
def test_config(layer, arguments, parameters):
    built = layer(**arguments, **options(layer, parameters), name="it", dtype="mixed_float16")
    config = built.get_config()
    assert config["name"] == "it"
    for name in ("epsilon", "activation", "data_format", "learned_epsilon", "affine"):
        assert config.get(name) == arguments.get(name, config.get(name))
    again = layer.from_config(config)
    assert type(again) is layer
    assert again.get_config() == config
    for name in ("gamma", "beta", "tau", "alpha"):
        if name in parameters:
            kinds = (f"{name}_initializer", f"{name}_regularizer", f"{name}_constraint")
            before = [vars(getattr(built, kind)) for kind in kinds]
            assert [vars(getattr(again, kind)) for kind in kinds] == before


@pytest.mark.parametrize(("layer", "arguments", "parameters"), FULL)
def test_building_and_calling_change_no_argument(layer, arguments, parameters):
    arguments = {**arguments, **options(layer, parameters)}
    axis = copy.copy(arguments.get("axis"))
    built = layer(**arguments)
    config = built.get_config()
    built(np.ones((2, 3, 4, 5), "f4"))
    assert built.get_config() == config
    assert arguments.get("axis") == axis


def test_the_list_given_as_axis_is_not_shared():
    axis = [1, 2]
    layer = FilterResponseNormalization(axis=axis)
    axis.append(3)
    assert layer.axis == [1, 2]


@pytest.mark.parametrize("layer", [FilterResponseNormalization, TLU])
def test_an_axis_of_numpy_is_an_int(layer):
    made = layer(axis=np.int64(-1))
    assert (made.axis, type(made.axis)) == (-1, int)
    assert json.dumps(made.get_config()["axis"]) == "-1"


def test_axes_of_numpy_are_ints():
    assert FilterResponseNormalization(axis=[np.int64(2), np.int32(3)]).get_config()["axis"] == 1


@pytest.mark.parametrize(
    ("axis", "kept"),
    [([1, 2], -1), ([-3, -2], -1), ([2, 3], 1), ([3, 1], 2), ([1], -1), ([2], 1), (-1, -1), (2, 2)],
)
def test_axis_is_kept_as_the_channel_axis(axis, kept):
    """Keras' loader of HDF5 files drops [2, 3], and makes [1] the integer 1."""
    assert FilterResponseNormalization(axis=axis).get_config()["axis"] == kept


def network():
    """All layers in one model, with H and W unknown; axis in every spelling."""
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3)(image)
    x = FilterResponseNormalization(0.1, learned_epsilon=True)(x)
    x = keras.layers.Conv2D(4, 3)(x)
    x = FRN(0.2)(x)
    x = FilterResponseNormalization(axis=[1, 2], activation=None)(x)
    x = TLU(affine=True)(x)
    x = FilterResponseNormalization(activation="swish")(x)
    x = keras.layers.Permute((3, 1, 2))(x)
    x = FilterResponseNormalization(axis=[2, 3])(x)
    x = TLU(data_format="channels_first")(x)
    x = keras.layers.Reshape((4, -1))(x)
    return keras.Model(image, FilterResponseNormalization(axis=[2])(x))


@pytest.fixture
def trained(rng):
    model = network()
    for variable in model.weights:
        variable.assign(rng.normal(0.3, 0.5, variable.shape))
    return model


@pytest.fixture
def image(rng):
    return rng.normal(size=(2, 9, 11, 3)).astype("f4")


def configs(model):
    return [layer.get_config() for layer in model.layers if isinstance(layer, tuple(LAYERS))]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5")
def test_model_file(trained, image, tmp_path, suffix):
    trained.save(tmp_path / f"model{suffix}")
    again = keras.models.load_model(tmp_path / f"model{suffix}")
    assert configs(again) == configs(trained)
    np.testing.assert_array_equal(
        again.predict(image, verbose=0), trained.predict(image, verbose=0)
    )


def test_weights_file(trained, image, tmp_path):
    trained.save_weights(tmp_path / "model.weights.h5")
    again = network()
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(
        again.predict(image, verbose=0), trained.predict(image, verbose=0)
    )


def test_clone_and_weights_list(trained, image):
    again = keras.models.clone_model(trained)
    again.set_weights(trained.get_weights())
    np.testing.assert_array_equal(
        again.predict(image, verbose=0), trained.predict(image, verbose=0)
    )


@pytest.mark.parametrize(
    ("layer", "arguments", "names"),
    [
        (FilterResponseNormalization, {}, ["gamma", "beta", "tau"]),
        (FilterResponseNormalization, {"activation": None}, ["gamma", "beta"]),
        (
            FilterResponseNormalization,
            {"learned_epsilon": True},
            ["learned_epsilon", "gamma", "beta", "tau"],
        ),
        (FRN, {}, ["tau", "gamma", "beta"]),
        (TLU, {}, ["tau"]),
        (TLU, {"affine": True}, ["tau", "alpha"]),
    ],
)
def test_order_of_weights(layer, arguments, names):
    built = layer(**arguments)
    built.build((None, None, None, 3))
    assert [weight.name for weight in built.weights] == names


def test_float32_weights_load_under_mixed_precision(trained, image, tmp_path):
    trained.save(tmp_path / "model.keras")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = network()
    finally:
        keras.config.set_dtype_policy(before)
    half.load_weights(tmp_path / "model.keras")
    for mine, theirs in zip(half.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("built_by", ["data", "nothing"])
@pytest.mark.parametrize(
    "activation",
    [
        lambda: keras.layers.PReLU(),
        lambda: keras.layers.PReLU(shared_axes=[1, 2]),
        lambda: keras.layers.BatchNormalization(axis=-1),
    ],
)
def test_an_activation_with_weights(activation, built_by, suffix, rng, tmp_path):
    """Its weights are there as soon as the layer is built, and go wherever the others go."""
    x = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    image = keras.Input(x.shape[1:])
    layer = FilterResponseNormalization(learned_epsilon=True, activation=activation())
    model = keras.Model(image, layer(image))
    if built_by == "data":
        model(x)
    assert len(layer.weights) == 3 + len(layer.activation.weights)
    assert len(layer.weights) > 3
    # Variances and the learned epsilon are positive.
    layer.set_weights([rng.uniform(0.5, 1, size=w.shape) for w in layer.get_weights()])
    layer.set_weights(layer.get_weights())
    expected = keras.ops.convert_to_numpy(model(x))
    clone = keras.models.clone_model(model)
    if suffix == ".weights.h5":
        model.save_weights(tmp_path / f"it{suffix}")
        clone.load_weights(tmp_path / f"it{suffix}")
    else:
        model.save(tmp_path / f"it{suffix}")
        clone = keras.saving.load_model(tmp_path / f"it{suffix}")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(clone(x)), expected)
    again = FilterResponseNormalization.from_config(layer.get_config())
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(x)), expected)
