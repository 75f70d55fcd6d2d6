"""The mutation run at a small size: a fixed sample of mutants of the matcher is noticed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import changes, run, transplant, workers

TESTS = Path(__file__).parents[1]


def test_a_sample_is_noticed():
    sample = ("--only", "matcher/form.py", "--tests", "tests/graph/matcher", "--sample", "16")
    done = subprocess.run(
        [sys.executable, "-m", "mutants", *sample],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mutants(tmp_path: Path, text: str) -> dict[str, str]:
    """The changed text, by what is shown of it."""
    (tmp_path / "file.py").write_text(text)
    return {m.shown: m.apply(text) for m in changes.mutants_of(tmp_path, "file.py")}


def test_changes(tmp_path):
    text = '"""Not 1."""\nX: int = 3\n\n\ndef f(a, b=2):\n    """Not this."""\n'
    text += "    return g(a, key=b)\n"
    assert sorted(mutants(tmp_path, text)) == [
        "X: int = 3  =>  X: int = 4",
        "def f(a, b=2):  =>  def f(a, b=3):",
        "return g(a, key=b)  =>  return None",
        "return g(a, key=b)  =>  return g(a, )",
    ]
    text = "if a < b and not c:\n    raise ValueError('1')\n"
    assert sorted(mutants(tmp_path, text)) == [
        "if a < b and not c:  =>  if a < b and c:",
        "if a < b and not c:  =>  if a < b or not c:",
        "if a < b and not c:  =>  if a <= b and not c:",
        "if a < b and not c:  =>  if not (a < b and not c):",
        "raise ValueError('1')  =>  pass",
    ]


def test_every_change_is_a_program(tmp_path):
    path = TESTS.parent / "frn_onnx" / "graph" / "matcher" / "form.py"
    for changed in mutants(tmp_path, path.read_text()).values():
        compile(changed, "file.py", "exec")


def test_what_was_reviewed_is_there():
    """A reason why nothing can notice a change is for a line of today, or one in the tables."""
    listed = {mutant["key"] for mutant in json.loads(run.RESULTS.read_text())["survivors"]}
    left = run.reviewed().keys() - listed
    files = {key.split(" ")[0] for key in left}
    assert left <= {m.key for file in files for m in changes.mutants_of(run.ROOT, file)}


class TestTransplant:
    TEXT = "def outer(n):\n    def inner(x):\n        return x + n\n    return inner\n"

    def loaded(self, text: str) -> dict:
        names: dict = {}
        exec(compile(text, "/made/up.py", "exec"), names)
        return names

    def test_closures_that_were_made_before(self):
        names = self.loaded(self.TEXT)
        add = names["outer"](2)
        mutated = self.TEXT.replace("x + n", "x - n")
        changed = transplant.replacements("/made/up.py", self.TEXT, mutated)
        assert transplant.apply(changed) == 2
        assert (add(5), names["outer"](1)(5)) == (3, 4)

    def test_what_runs_on_import_cannot(self):
        text = "TABLE = {'a': 1}\n\n\ndef f(x=1):\n    return x\n"
        for mutated in (text.replace("'a': 1", "'a': 2"), text.replace("x=1", "x=2")):
            assert transplant.replacements("/made/up.py", text, mutated) is None


@pytest.mark.parametrize(("file", "name"), [("a/b/c.py", "a.b.c"), ("a/b/__init__.py", "a.b")])
def test_a_module_is_imported_with_the_mutant(tmp_path, file, name):
    """A package, too: its text is in a file of another name."""
    finder = workers.Finder(tmp_path, file, "X = 1\n")
    assert finder.find_spec("a.b.d") is None
    spec = finder.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.X == 1
    assert (spec.submodule_search_locations is not None) == file.endswith("__init__.py")
