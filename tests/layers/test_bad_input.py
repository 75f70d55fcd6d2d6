"""What is refused, and what the message says."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from frn_onnx.errors import ArgumentError, FrnError, ShapeError
from frn_onnx.layers import FRN, TLU, FilterResponseNormalization

NORMALISERS = [FilterResponseNormalization, FRN]


@pytest.mark.parametrize("layer", NORMALISERS)
@pytest.mark.parametrize("rank", [2, 6])
def test_rank(layer, rank):
    message = f"{layer.__name__}: the input must have rank 3, 4 or 5: .* of rank {rank}"
    with pytest.raises(ShapeError, match=message):
        layer()(np.ones((2,) * rank, "f4"))
    with pytest.raises(ShapeError, match=r"keras\.layers\.Reshape\(\(1, C\)\)"):
        layer()(keras.Input((2,) * (rank - 1)))
    with pytest.raises(ShapeError, match=message):
        layer().compute_output_shape((None,) * (rank - 1) + (2,))


@pytest.mark.parametrize("layer", NORMALISERS)
def test_the_cure_for_rank_2_works(layer):
    features = keras.Input((3,))
    assert layer()(keras.layers.Reshape((1, 3))(features)).shape == (None, 1, 3)


@pytest.mark.parametrize("layer", [*NORMALISERS, TLU])
def test_unknown_number_of_channels(layer):
    message = (
        f"{layer.__name__}: the number of channels must be known to build the layer, and axis 3 "
        r"of the input has no fixed size\. Received: input_shape=\(None, 4, 4, None\)"
    )
    with pytest.raises(ShapeError, match=message):
        layer()(keras.Input((4, 4, None)))


@pytest.mark.parametrize("layer", [*NORMALISERS, TLU])
def test_another_number_of_channels_or_rank_than_built_for(layer):
    built = layer()
    built.build((None, None, None, 3))
    with pytest.raises(ValueError, match="expected axis 3 of input shape to have value 3"):
        built(np.ones((2, 4, 4, 5), "f4"))
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        built(np.ones((2, 4, 3), "f4"))


@pytest.mark.parametrize("axis", [0, -4, 4, -5])
@pytest.mark.parametrize("layer", [FilterResponseNormalization, TLU])
def test_channel_axis_out_of_range(layer, axis):
    message = f"{layer.__name__}: the channel axis must be within 1..3 .* Received: axis={axis}"
    with pytest.raises(ShapeError, match=message):
        layer(axis=axis)(np.ones((2, 4, 4, 3), "f4"))


@pytest.mark.parametrize("axes", [[], [1], [1, 1], [0, 1], [1, 2, 3], [1, 4], [-1, 3], [-4, 2]])
def test_spatial_axes_that_leave_no_single_channel_axis(axes):
    with pytest.raises(ShapeError, match=r"FRN: axes must name the spatial axes .* leaving one"):
        FilterResponseNormalization(axis=axes)(np.ones((2, 4, 4, 3), "f4"))


@pytest.mark.parametrize("axis", ["channels_last", 1.0, True, [1, 2.0], [[1, 2]]])
def test_axis_of_another_kind(axis):
    with pytest.raises(ArgumentError, match=r"axis must be the channel axis .* Received: axis="):
        FilterResponseNormalization(axis=axis)


@pytest.mark.parametrize("axis", ["channels_last", 1.0, True, [1, 2]])
def test_axis_of_another_kind_for_tlu(axis):
    with pytest.raises(ArgumentError, match=r"TLU: axis must be the channel axis \(an int\)"):
        TLU(axis=axis)


@pytest.mark.parametrize("layer", [FilterResponseNormalization, TLU])
def test_axis_and_data_format_together(layer):
    with pytest.raises(ArgumentError, match=r"pass one of them\. Received: axis=1, data_form"):
        layer(axis=1, data_format="channels_first")


@pytest.mark.parametrize("layer", [FilterResponseNormalization, TLU])
def test_unknown_data_format(layer):
    with pytest.raises(ArgumentError, match=r"must be 'channels_last' or .* data_format='NCHW'"):
        layer(data_format="NCHW")


@pytest.mark.parametrize("layer", NORMALISERS)
@pytest.mark.parametrize("epsilon", ["small", None, float("nan"), float("inf"), [1.0, 2.0]])
def test_epsilon(layer, epsilon):
    with pytest.raises(ArgumentError, match=r"epsilon must be a finite number\. Received: eps"):
        layer(epsilon=epsilon)


@pytest.mark.parametrize("layer", [*NORMALISERS, TLU])
def test_unknown_argument(layer):
    with pytest.raises(ValueError, match=r"Unrecognized keyword arguments .* {'groups': 4}"):
        layer(groups=4)


def test_unknown_activation():
    with pytest.raises(ValueError, match="tulip"):
        FilterResponseNormalization(activation="tulip")


@pytest.mark.parametrize(
    "argument",
    [
        {"tau_initializer": "ones"},
        {"tau_regularizer": "l2"},
        {"tau_constraint": "non_neg"},
    ],
)
@pytest.mark.parametrize("activation", ["relu", None])
def test_options_of_a_tau_that_is_not_there(argument, activation):
    with pytest.raises(ArgumentError, match=r"tau_constraint have no effect, because activation="):
        FilterResponseNormalization(activation=activation, **argument)


@pytest.mark.parametrize(
    "argument",
    [
        {"alpha_initializer": "ones"},
        {"alpha_regularizer": "l2"},
        {"alpha_constraint": "non_neg"},
    ],
)
def test_options_of_an_alpha_that_is_not_there(argument):
    with pytest.raises(ArgumentError, match="alpha_constraint have no effect, because affine=Fal"):
        TLU(**argument)


def test_constraint_of_a_learned_epsilon_that_is_not_there():
    with pytest.raises(ArgumentError, match="has no effect without learned_epsilon=True"):
        FilterResponseNormalization(learned_epsilon_constraint="non_neg")


@pytest.mark.parametrize("layer", [*NORMALISERS, TLU])
@pytest.mark.parametrize("shape", [(4,), (3, 1), (), (1, 4), (3, 3)])
def test_weights_of_another_shape(layer, shape):
    built = layer()
    built.build((None, None, None, 3))
    with pytest.raises(ShapeError, match=r"must have shape \(3,\), received \("):
        built.set_weights([np.ones(shape)] * len(built.weights))


@pytest.mark.parametrize("layer", [*NORMALISERS, TLU])
def test_another_number_of_weights(layer):
    built = layer()
    built.build((None, None, None, 3))
    with pytest.raises(ValueError, match="with a weight list of length 7"):
        built.set_weights([np.ones(3)] * 7)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


HIDE = """
import importlib.abc, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.mark.parametrize("name", ["keras", "tensorflow"])
def test_missing_package_is_named_with_its_cure(name):
    hide = HIDE.format(name=name) + "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'\n"
    found = python(f"{hide}import frn_onnx; print('imported'); frn_onnx.layers")
    assert found.stdout == "imported\n"
    assert "DependencyError: frn_onnx.layers" in found.stderr
    assert f"needs the package {name!r}, which is not installed" in found.stderr
    assert "pip install 'frn_onnx[keras]'" in found.stderr


def test_old_keras_is_named_with_its_cure():
    fake = "import sys, types; sys.modules['keras'] = k = types.ModuleType('keras')\n"
    found = python(f"{fake}k.__version__ = '2.15.0'\nimport frn_onnx.layers")
    assert "needs Keras 3 or newer, found Keras 2.15.0; install it with: pip" in found.stderr


def test_importing_the_package_imports_no_keras():
    found = python("import frn_onnx, sys; print({'keras', 'tensorflow'} & set(sys.modules))")
    assert found.stdout == "set()\n", found.stderr


def test_all_own_errors_have_one_base():
    assert issubclass(ArgumentError, FrnError)
    assert issubclass(ArgumentError, ValueError)
