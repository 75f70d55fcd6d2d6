"""Keras networks with FRN, for the demo, the tests and the benchmarks.

Each builder takes ``norm``: one of ``NORMS``, or a function with their signature. The weights
are Keras' random ones; ``randomize`` also gives the FRN parameters values that matter.
"""

from .digits import digits_cnn
from .norms import NORMS, WrittenOutFrn, randomize
from .resnet import resnet20, resnet50, resnetv2_50d
from .unet import unet

__all__ = [
    "NORMS",
    "WrittenOutFrn",
    "digits_cnn",
    "randomize",
    "resnet20",
    "resnet50",
    "resnetv2_50d",
    "unet",
]
