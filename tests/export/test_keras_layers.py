"""The page on Keras' layers: all are on it, it says what was found, and some are found again."""

import json

import keras_layers
import pytest
from generated import with_sections

RESULTS = json.loads(keras_layers.RESULTS.read_text())
# What no other test exports, of each kind of layer.
SAMPLE = ("AdaptiveMaxPooling2D", "BatchNormalization", "Bidirectional", "Dot", "EinsumDense")
SAMPLE += ("GroupNormalization", "GroupQueryAttention", "LSTMCell", "RandomRotation", "Resizing")
SAMPLE += ("STFTSpectrogram", "SeparableConv1D", "SpectralNormalization", "StackedRNNCells")
SAMPLE += ("Discretization", "UpSampling3D")


def test_every_layer_is_on_the_page():
    assert list(RESULTS) == keras_layers.names()
    page = keras_layers.PAGE
    assert with_sections(page, keras_layers.sections(RESULTS)) == page.read_text()


@pytest.mark.parametrize("name", SAMPLE)
def test_what_the_page_says(name):
    assert keras_layers.outcome(name) == RESULTS[name]
