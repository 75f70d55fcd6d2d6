"""Each form of small files in each runtime of the table in docs/platforms.md, as that says."""

import json

import pytest
from runtimes import networks, run

pytestmark = pytest.mark.network
TABLE = json.loads(run.RESULTS.read_text())


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    return networks.unet(tmp_path_factory.mktemp("runtimes") / "unet", size=32, width=4)


@pytest.fixture(scope="module")
def known():
    return run.runtimes()


def test_the_table_has_every_runtime(known):
    assert list(TABLE) == list(known)


@pytest.mark.parametrize("form", run.FORMS)
@pytest.mark.parametrize("name", TABLE)
def test_as_in_the_table(known, unet, name, form):
    found = run.try_one(known[name], unet, form)
    assert run.is_right(found) == run.is_right(TABLE[name]["results"][form]["U-Net"]), found
