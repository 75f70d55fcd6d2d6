"""Every kind of model that can be exported: names, sizes, structures, files."""

import export_cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import frn_onnx
import frn_onnx.export
from frn_onnx import models
from frn_onnx.errors import ArgumentError, FrnWarning
from frn_onnx.export import export_model
from frn_onnx.layers import FilterResponseNormalization

IMAGE = (6, 5, 3)


def frn():
    return FilterResponseNormalization()


def two_inputs():
    return keras.Input(IMAGE, name="left"), keras.Input(IMAGE, name="right")


def exported(model, **options):
    """What the file says of its inputs and outputs."""
    result = export_model(model, **options)
    export_cases.check_file(result.model, options.get("form", "portable"))
    return export_cases.interface(result.model)


def test_a_functional_model_of_several_inputs_and_outputs():
    left, right = two_inputs()
    shared = layers.Conv2D(4, 1, name="shared")
    a, b = frn()(shared(left)), frn()(shared(right))
    outputs = [layers.Add(name="sum")([a, b]), layers.Multiply(name="product")([a, b])]
    assert exported(keras.Model([left, right], outputs)) == (
        {"left": [None, *IMAGE], "right": [None, *IMAGE]},
        {"sum": [None, 6, 5, 4], "product": [None, 6, 5, 4]},
    )


def test_dictionaries_of_inputs_and_outputs(rng):
    left, right = two_inputs()
    y = {"b": frn()(left), "a": {"inner": [frn()(right), right - 1.0]}}
    model = models.randomize(keras.Model({"left": left, "right": right}, y))
    result = export_model(model).model
    assert export_cases.interface(result)[0].keys() == {"left", "right"}
    assert [value.name for value in result.graph.output] == ["a_inner_0", "a_inner_1", "b"]
    feeds = {name: export_cases.normal(rng, 2, *IMAGE) for name in ("left", "right")}
    first, second, third = export_cases.run(result, feeds)
    expected = model(feeds)
    np.testing.assert_allclose(first, expected["a"]["inner"][0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(second, expected["a"]["inner"][1])
    np.testing.assert_allclose(third, expected["b"], rtol=0, atol=1e-5)


def test_names_that_are_there_twice():
    left, right = two_inputs()
    layer = layers.Conv2D(4, 1, name="left_1")
    model = keras.Model([left, right], [left, layer(frn()(left)), layer(right)])
    inputs, outputs = exported(model)
    assert list(inputs) == ["left", "right"]
    assert list(outputs) == ["left_1", "left_1_1", "left_1_2"]


def test_an_input_that_is_not_used():
    left, right = two_inputs()
    inputs, _ = exported(keras.Model([left, right], frn()(right)))
    assert list(inputs) == ["left", "right"]


def test_a_static_batch_stays():
    image = keras.Input(batch_shape=(4, *IMAGE), name="image")
    assert exported(keras.Model(image, layers.Identity(name="y")(frn()(image)))) == (
        {"image": [4, *IMAGE]},
        {"y": [4, *IMAGE]},
    )


def test_a_sequential_model():
    model = keras.Sequential([keras.Input(IMAGE, name="image"), layers.Conv2D(4, 1), frn()])
    inputs, outputs = exported(model)
    assert inputs == {"image": [None, *IMAGE]}
    assert outputs == {model.layers[-1].name: [None, 6, 5, 4]}


def test_a_sequential_model_built_by_a_call_takes_any_batch(rng):
    model = keras.Sequential([layers.Conv2D(4, 1), frn()])
    model(export_cases.normal(rng, 2, *IMAGE))
    ((name, size),) = exported(model)[0].items()
    assert name
    assert size == [None, *IMAGE]


class Subclassed(keras.Model):
    """Two layers, one used twice."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.convolution, self.normal = layers.Conv2D(3, 1), frn()

    def call(self, picture):
        return {"once": self.normal(picture), "twice": self.normal(self.convolution(picture))}


def test_a_subclassed_model_after_its_first_call(rng):
    model = Subclassed()
    model(export_cases.normal(rng, 2, *IMAGE))
    result = export_model(model)
    assert export_cases.interface(result.model) == (
        {"picture": [None, *IMAGE]},
        {"once": [None, *IMAGE], "twice": [None, *IMAGE]},
    )
    assert result.fused == len(result.frn_layers) == 2


def test_a_subclassed_model_before_its_first_call():
    model = Subclassed()
    with pytest.raises(ArgumentError, match=r"inputs of 'subclassed' .* are unknown.*call it once"):
        export_model(model)
    result = export_model(model, signature=[tf.TensorSpec((None, None, None, 3))])
    assert export_cases.interface(result.model)[0] == {"picture": [None, None, None, 3]}
    # The calls in which Keras builds the layers are no uses of theirs.
    assert result.fused == len(result.frn_layers) == 2


class Nested(keras.Model):
    """A layer in which a layer is."""

    def __init__(self):
        super().__init__()
        self.block = Subclassed()

    def call(self, picture):
        return self.block(picture)


@pytest.mark.parametrize("kind", [Subclassed, Nested])
def test_a_subclassed_model_whose_layers_are_not_built(kind):
    """Only the model says that it is; its layers are built while it is traced."""
    model = kind()
    with pytest.warns(UserWarning, match="unbuilt state"):
        model.build((None, *IMAGE))
    result = export_model(model)
    assert result.fused == len(result.frn_layers) == 2


class Pair(Subclassed):
    """Takes two arguments."""

    def call(self, first, second):
        return self.normal(first), self.normal(second)


def test_a_subclassed_model_of_two_arguments(rng):
    model = Pair()
    a, b = export_cases.normal(rng, 2, *IMAGE), export_cases.normal(rng, 2, 4, 4, 3)
    model(a, b)
    inputs = [tf.TensorSpec((None, *IMAGE)), tf.TensorSpec((None, 4, 4, 3), name="other")]
    assert exported(model, signature=inputs) == (
        {"first": [None, *IMAGE], "other": [None, 4, 4, 3]},
        {"output_0": [None, *IMAGE], "output_1": [None, 4, 4, 3]},
    )


class Masked(Subclassed):
    """Takes a mask, by which a step does not count."""

    def call(self, x, training=None, mask=None):
        y = self.normal(x)
        return y if mask is None else y * keras.ops.cast(mask, "float32")[..., None]


class Unmasked(Subclassed):
    """Takes a mask and does nothing with it."""

    def call(self, x, training=None, mask=None):
        return self.normal(x)


def test_a_mask_is_an_input_or_asked_for(rng):
    """Keras keeps no word of whether a call gave one."""
    model, x = Masked(), export_cases.normal(rng, 2, *IMAGE)
    mask = rng.random(x.shape[:-1]) < 0.5
    expected = model(x, mask=mask).numpy()
    with pytest.raises(ArgumentError, match=r"'subclassed' .* with or without 'mask'.*signature="):
        export_model(model)
    arguments = [tf.TensorSpec((None, *IMAGE)), tf.TensorSpec((None, *IMAGE[:2]), "bool")]
    call = tf.function(lambda x, mask: model(x, mask=mask), input_signature=arguments)
    found = export_model(call).model
    assert export_cases.interface(found)[0] == {"x": [None, *IMAGE], "mask": [None, *IMAGE[:2]]}
    (y,) = export_cases.run(found, {"x": x, "mask": mask})
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert exported(model, signature=arguments[:1])[0] == {"x": [None, *IMAGE]}
    without = Unmasked()
    without(x)
    assert exported(without)[0] == {"x": [None, *IMAGE]}


class Keyed(Subclassed):
    """Takes a dict."""

    def call(self, inputs):
        return self.normal(inputs["x"]) + self.normal(inputs["y"])


def test_a_subclassed_model_of_a_dictionary(rng):
    model = Keyed()
    model({"y": export_cases.normal(rng, 2, *IMAGE), "x": export_cases.normal(rng, 2, *IMAGE)})
    assert exported(model)[0] == {"x": [None, *IMAGE], "y": [None, *IMAGE]}


def test_a_signature_changes_the_sizes_and_keeps_the_names(dynamic_resnet):
    assert exported(dynamic_resnet, signature=tf.TensorSpec((1, 16, 8, 3))) == (
        {"image": [1, 16, 8, 3]},
        {"logits": [1, 5]},
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file(tmp_path, suffix):
    image = keras.Input(IMAGE, name="image")
    model = models.randomize(keras.Model(image, layers.Dense(2, name="y")(frn()(image))))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    result = export_model(path)
    assert export_cases.interface(result.model) == export_cases.interface(export_model(model).model)
    assert result.fused == len(result.frn_layers) == 1
    assert export_model(str(path)).fused == 1


class OldFrn(models.WrittenOutFrn):
    """Writes what keras-frn's layer writes."""

    def get_config(self):
        zeros = {"class_name": "Zeros", "config": {}}
        options = {
            f"{name}_{kind}": None
            for name in ("beta", "gamma", "tau")
            for kind in ("regularizer", "constraint")
        }
        return {
            "name": self.name,
            "trainable": True,
            "dtype": "float32",
            "epsilon": 0.25,
            "axis": -1,
            "beta_initializer": zeros,
            "gamma_initializer": {"class_name": "Ones", "config": {}},
            "tau_initializer": zeros,
            **options,
        }


def test_a_file_of_keras_frn(tmp_path):
    """A file that keras-frn itself cannot read."""
    old = type("FRN", (OldFrn,), {})(epsilon=0.25)
    image = keras.Input(IMAGE, name="image")
    model = models.randomize(keras.Model(image, layers.Conv2D(2, 1)(old(image))))
    model.save(tmp_path / "old.h5")
    result = export_model(tmp_path / "old.h5")
    assert (result.fused, len(result.frn_layers)) == (1, 1)
    (node,) = export_cases.frn_nodes(result.model)
    assert export_cases.attributes(node)[1] == 0.25
    found = export_cases.channel_values(result.model, node)
    for value, variable in zip(found, (old.gamma, old.beta, old.tau), strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


class Module(tf.Module):
    """Two functions with signatures over one set of weights."""

    def __init__(self):
        super().__init__()
        self.layer = FilterResponseNormalization(epsilon=0.5)
        self.layer.build((None, *IMAGE))
        self.gamma = self.layer.gamma.value

    @tf.function(input_signature=[tf.TensorSpec((None, *IMAGE), name="picture")])
    def normal(self, picture):
        return {"normal": self.layer(picture)}

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, 3), name="picture"),
            tf.TensorSpec((), tf.int32, name="times"),
        ]
    )
    def scaled(self, picture, times):
        return self.layer(picture) * tf.cast(times, tf.float32), times + 1


NORMAL = ({"picture": [None, *IMAGE]}, {"normal": [None, *IMAGE]})
SCALED = (
    {"picture": [None, None, None, 3], "times": []},
    {"output_0": [None, None, None, 3], "output_1": []},
)


def test_a_function_and_a_concrete_function():
    module = Module()
    assert exported(module.normal) == NORMAL
    assert exported(module.scaled) == SCALED
    assert exported(module.scaled.get_concrete_function()) == SCALED


def test_a_function_without_a_signature_of_its_own():
    layer = frn()
    layer.build((None, *IMAGE))

    @tf.function
    def function(x, double=False):
        return layer(x) * (2.0 if double else 1.0)

    given = tf.TensorSpec((None, *IMAGE))
    assert exported(function, signature=[given])[0] == {"x": [None, *IMAGE]}
    concrete = function.get_concrete_function(given, double=True)
    assert exported(concrete)[0] == {"x": [None, *IMAGE]}


def test_a_saved_model_of_several_signatures(tmp_path):
    module, path = Module(), tmp_path / "saved"
    signatures = {"normal": module.normal, "scaled": module.scaled}
    tf.saved_model.save(module, path, signatures=signatures)
    assert exported(path, signature="normal") == NORMAL
    assert exported(str(path), signature="scaled") == SCALED
    with pytest.raises(
        ArgumentError, match=r"has the signatures \['normal', 'scaled'\], received signature=None"
    ):
        export_model(path)
    with pytest.raises(ArgumentError, match="received signature='other'; choose one"):
        export_model(path, signature="other")


def test_a_saved_model_of_keras(resnet, tmp_path):
    resnet.export(tmp_path / "saved", verbose=False)
    result = export_model(tmp_path / "saved")
    assert export_cases.interface(result.model)[0] == {"image": [None, 8, 8, 3]}
    assert result.fused == 10
    assert result.frn_layers is None
    assert "10 FRN nodes; " in str(result)


def test_a_saved_model_with_one_signature_of_any_name(tmp_path):
    module = Module()
    tf.saved_model.save(module, tmp_path / "one", signatures={"only": module.normal})
    assert exported(tmp_path / "one") == NORMAL


def test_the_function_and_the_package_have_one_name(resnet):
    """``import frn_onnx.export`` puts the package where the function was; both have the rest."""
    assert callable(frn_onnx.export)
    function = frn_onnx.export.export
    assert function.export_model is frn_onnx.export.export_model
    assert function.ExportResult is frn_onnx.export.ExportResult
    model = frn_onnx.export(resnet, verify=False)
    assert len(export_cases.frn_nodes(model)) == 10


def test_a_model_without_frn_is_exported_with_a_warning():
    image = keras.Input(IMAGE, name="image")
    model = keras.Model(image, layers.Conv2D(2, 1, name="y")(image), name="plain")
    with pytest.warns(FrnWarning, match="no FRN was found in 'plain'"):
        result = export_model(model)
    assert not result.model.functions
    with pytest.warns(FrnWarning, match="no FRN was found in 'plain'") as warned:
        frn_onnx.export(model)
    assert warned[0].filename == __file__
