"""docs/platforms.md says what was run, and pyproject.toml allows nothing older than that."""

import json

import environments
import generated
import pytest
import versions
from runtimes import run as runtimes

FOUND = json.loads(versions.RESULTS.read_text())


@pytest.mark.parametrize("source", [runtimes, versions], ids=["runtimes", "versions"])
def test_the_table_is_what_was_run(source):
    assert generated.with_sections(source.PAGE, source.sections()) == source.PAGE.read_text()


def test_every_combination_was_run_and_passed():
    asked = [(combination.name, combination.python) for combination in versions.COMBINATIONS]
    assert [(found["name"], found["python"]) for found in FOUND] == asked
    assert [found["failed"] for found in FOUND if found["code"]] == []


def test_the_oldest_that_are_allowed_were_run():
    """The names of a bound may be of a platform: "tensorflow-cpu==2.18.1; platform_machine ..."."""
    bounds = (*environments.oldest(), *environments.oldest("cpu", "keras"))
    oldest = dict(bound.split(";")[0].split("==") for bound in bounds)
    for name in set(oldest) & set(versions.SHOWN):
        found = FOUND[0]["versions"][name]
        assert f"{found}.".startswith(f"{oldest[name]}."), name
