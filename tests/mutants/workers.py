"""Runs tests against mutants, each in a fork of a process that has loaded what it needs.

First in forks of a pytest session that has collected the tests and loaded the package: the mutant
is put into the loaded functions (``transplant.py``), which costs milliseconds. What that cannot do,
and what survived it, runs in forks of a process that has loaded all libraries but not the package:
the child imports it anew, with the mutant in place of one of its modules.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mutants import transplant

# What the tests of graph import, beside the package and each other.
_LIBRARIES = (
    *("hypothesis.strategies", "hypothesis.internal.conjecture.engine", "numpy", "onnx.checker"),
    *("onnx.reference", "onnx.shape_inference", "onnx.version_converter", "onnx_ir"),
    *("onnx_ir.passes.common", "onnxruntime", "rich.console"),
)
# Slower tests are not run against mutants: exporters, networks, files of gigabytes.
SLOWEST_S = 3.0
# Whole files that drive slow tools, or this one.
LEFT_OUT = ("test_fuse_exporters.py", "test_fuse_tf2onnx.py", "test_fuzz.py", "test_mutants.py")
# Than without a mutant a test may take, on a machine that does something else, too.
_LONGER_S, _TIMES_AS_LONG = 20, 10
_IMPORT_S = 120
NOTICED, SURVIVED = "noticed", "survived"
_UNSUITED = "unsuited"
_CODES = {0: SURVIVED, 3: _UNSUITED}


@dataclass(frozen=True)
class Task:
    """A mutant to try.

    Attributes:
        index: its number.
        file: its path below the repository.
        text: the mutated text.
        stages: the tests to run, in stages.
        seconds: that each test takes without a mutant.
    """

    index: int
    file: str
    text: str
    stages: list[list[str]]
    seconds: Mapping[str, float]

    @property
    def tests(self) -> list[str]:
        return [test for tests in self.stages for test in tests]

    def allow(self, test: str) -> None:
        """Ends this process, by which it has noticed the mutant, where that makes a test hang."""
        signal.alarm(_LONGER_S + _TIMES_AS_LONG * math.ceil(self.seconds[test]))


def run(
    root: Path, suite: Sequence[str], tasks: list[Task], jobs: int
) -> Iterator[tuple[int, str]]:
    """Yields (index, outcome) as they are known."""
    left = {task.index: task for task in tasks}
    for index, outcome in _in_session(root, suite, tasks, jobs):
        if outcome == NOTICED:
            del left[index]
            yield index, outcome
    for name in _LIBRARIES:
        importlib.import_module(name)
    again = [(task, lambda task=task: _imported_anew(root, task)) for task in left.values()]
    yield from _forked(again, jobs)


def _forked(
    tasks: Iterable[tuple[Task, Callable[[], int]]], jobs: int
) -> Iterator[tuple[int, str]]:
    """Runs each in a fork, a few at a time."""
    running: dict[int, int] = {}

    def ended() -> tuple[int, str]:
        process = 0
        while process not in running:
            process, status = os.waitpid(-1, 0)
        return running.pop(process), _CODES.get(os.waitstatus_to_exitcode(status), NOTICED)

    for task, function in tasks:
        while len(running) >= jobs:
            yield ended()
        running[_fork(function)] = task.index
    while running:
        yield ended()


def _fork(function: Callable[[], int]) -> int:
    """Starts a child with its output thrown away; its process id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        status = function()
    except BaseException:
        status = 1  # a mutant that ends the interpreter, or cannot be imported
    finally:
        os._exit(status)


# In forks of a session.


def _in_session(
    root: Path, suite: Sequence[str], tasks: list[Task], jobs: int
) -> Iterator[tuple[int, str]]:
    """Outcomes from a process of its own, in which pytest has collected the tests."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        os.close(reader)
        try:
            pytest_main(
                [*suite, "--capture=no", "--no-summary"], _Session(root, tasks, jobs, writer)
            )
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        for line in lines:
            index, outcome = line.split()
            yield int(index), outcome
    os.waitpid(process, 0)


class _Session:
    """A pytest plugin: in place of running tests it tries mutants."""

    def __init__(self, root: Path, tasks: list[Task], jobs: int, writer: int) -> None:
        self._root, self._tasks, self._jobs, self._writer = root, tasks, jobs, writer

    def pytest_ignore_collect(self, collection_path) -> bool | None:
        return True if collection_path.name in LEFT_OUT else None

    def pytest_runtestloop(self, session) -> bool:
        items = {item.nodeid: item for item in session.items}
        tasks = [(task, lambda task=task: self._try(task, items)) for task in self._tasks]
        for index, outcome in _forked(tasks, self._jobs):
            os.write(self._writer, f"{index} {outcome}\n".encode())
        return True

    def _try(self, task: Task, items: dict) -> int:
        path = str(self._root / task.file)
        original = Path(path).read_text()
        changed = transplant.replacements(path, original, task.text)
        if not changed or not transplant.apply(changed):
            return 3
        chosen = [items[test] for test in task.tests if test in items]
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            task.allow(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                return 1
        return 0


# In forks of a process without the package.


def pytest_main(arguments: Iterable[str], *plugins: object) -> int:
    """pytest in this process, up to the first failure; its exit status."""
    quiet = ["-x", "-q", "--disable-warnings", "-p", "no:cacheprovider"]
    return int(pytest.main([*quiet, *arguments], list(plugins)))


def _imported_anew(root: Path, task: Task) -> int:
    """0 where every test passes with the mutant in place."""
    signal.alarm(_IMPORT_S)
    sys.meta_path.insert(0, Finder(root, task.file, task.text))
    return 0 if all(_passes(task, tests) for tests in task.stages) else 1


def _passes(task: Task, tests: Sequence[str]) -> bool:
    files = dict.fromkeys(test.split("::")[0] for test in tests)
    return not tests or pytest_main(files, _Chosen(task, tests)) == 0


class _Chosen:
    """A pytest plugin: runs these tests alone, in this order."""

    def __init__(self, task: Task, tests: Sequence[str]) -> None:
        self._task = task
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._task.allow(nodeid)

    def pytest_collection_modifyitems(self, items) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place),
            key=lambda item: self._place[item.nodeid],
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a text that is not in its file."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._mutated = text

    def get_code(self, fullname: str):
        return compile(self._mutated, self.path, "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module of the package with a mutated text, whether it is a file or a folder."""

    def __init__(self, root: Path, file: str, text: str) -> None:
        self._name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self._path, self._text = root / file, text

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self._name:
            return None
        loader = _Loader(fullname, str(self._path), self._text)
        folder = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=loader, submodule_search_locations=folder
        )
