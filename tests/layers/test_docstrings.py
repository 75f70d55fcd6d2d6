"""The examples in the docstrings say what happens."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("layer", ["filter_response_normalization", "frn", "tlu"])
def test_examples(layer):
    result = doctest.testmod(importlib.import_module(f"frn_onnx.layers.{layer}"))
    assert result.attempted > 1
    assert result.failed == 0
