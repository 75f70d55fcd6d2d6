"""Networks that several files export."""

import export_cases
import pytest


@pytest.fixture(scope="session")
def resnet():
    return export_cases.small_resnet()


@pytest.fixture(scope="session")
def dynamic_resnet():
    return export_cases.small_resnet(size=(None, None))
