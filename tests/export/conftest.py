"""Networks that several files export."""

import export_cases
import keras
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    """Keras draws the convolutions' weights."""
    keras.utils.set_random_seed(20191120)


@pytest.fixture(scope="session")
def resnet():
    return export_cases.small_resnet()


@pytest.fixture(scope="session")
def dynamic_resnet():
    return export_cases.small_resnet(size=(None, None))
