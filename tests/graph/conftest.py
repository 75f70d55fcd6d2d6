"""What most tests of fuse start from: random parameters, and the formula to build on."""

import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params


@pytest.fixture
def params(rng):
    return Params.random(rng)


@pytest.fixture
def graph(params):
    """In NCHW."""
    return Build(LAYOUTS[0], params)
