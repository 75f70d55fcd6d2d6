"""What keeps a model, or a node of it, from being blocked."""

from collections.abc import Collection


class UnfitError(Exception):
    """A model, or this ONNX Runtime, is not as it has to be; the text says how."""


class TrialError(UnfitError):
    """This ONNX Runtime is not as it has to be, or could not be tried; another one may be."""


class LostError(UnfitError):
    """The optimiser did with what stood for some FRN nodes what it was not expected to do.

    Attributes:
        nodes: their places among the model's FRN nodes.
    """

    def __init__(self, nodes: Collection[int]) -> None:
        super().__init__("what stood for FRN nodes is not where it was put")
        self.nodes = frozenset(nodes)
