"""Which test runs which lines of the package, and how long each test takes.

Recorded once for a state of the sources and the tests, and kept in build/mutants.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import coverage

from mutants import workers


class CoverageMap:
    """Looks up the tests for lines of a file.

    Args:
        lines: per file and test, the lines that the test runs.
        seconds: how long each test takes.
    """

    def __init__(self, lines: dict[str, dict[str, list[int]]], seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._by_line: dict[str, dict[int, set[str]]] = {}
        self._by_file = {file: set(tests) for file, tests in lines.items()}
        for file, tests in lines.items():
            by_line = self._by_line.setdefault(file, {})
            for test, numbers in tests.items():
                for number in numbers:
                    by_line.setdefault(number, set()).add(test)

    def stages(self, file: str, first: int, last: int, budget: float) -> list[list[str]]:
        """The tests that run one of these lines: those of the module's own file, then the others.

        Of each the fastest come first. Lines that only an import runs have every test of the file.

        Args:
            budget: seconds that the tests may take; what comes later is left out.
        """
        by_line = self._by_line.get(file, {})
        tests = set().union(*(by_line.get(n, ()) for n in range(first, last + 1)))
        if not tests:
            tests = self._by_file.get(file, set())
        own = f"/test_{Path(file).stem}"
        ordered = sorted(tests, key=lambda test: (own not in test, self.seconds[test], test))
        kept, total = [], 0.0
        for test in ordered:
            total += self.seconds[test]
            if total <= budget:
                kept.append(test)
        mine = [test for test in kept if own in test]
        return [mine, kept[len(mine) :]]


class _Recorder:
    """A pytest plugin: coverage per test, and its time."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measured = measured

    def pytest_ignore_collect(self, collection_path) -> bool | None:
        return True if collection_path.name in workers.LEFT_OUT else None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._measured.switch_context(nodeid)
        self._start = time.perf_counter()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] = time.perf_counter() - self._start
        self._measured.switch_context("")

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            raise SystemExit(f"mutants: {report.nodeid} fails without a mutant")


def load(root: Path, folder: Path, package: str, suite: Sequence[str]) -> CoverageMap:
    """The map of some tests for the sources as they are, recorded if it is not there."""
    path = folder / f"coverage-{_state(root, package, suite)}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        process = os.fork()
        if not process:
            status = 1
            try:
                _record(root, path, package, suite)
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(process, 0)[1]:
            raise SystemExit("mutants: the tests do not pass without a mutant")
    kept = json.loads(path.read_text())
    return CoverageMap(kept["lines"], kept["seconds"])


def _state(root: Path, package: str, suite: Sequence[str]) -> str:
    """A name for the contents of all files that count."""
    digest = hashlib.sha256(" ".join(suite).encode())
    tests = list((root / "tests").glob("*.py"))
    for part in suite:
        tests += (root / part).rglob("*.py") if (root / part).is_dir() else [root / part]
    for path in sorted([*(root / package).rglob("*.py"), *tests]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _record(root: Path, path: Path, package: str, suite: Sequence[str]) -> None:
    print("recording which test runs which lines ...", flush=True)
    measured = coverage.Coverage(data_file=None, source=[str(root / package)], messages=False)
    recorder = _Recorder(measured)
    measured.start()
    marked = "not exporters and not network and not slow"
    status = workers.pytest_main([*suite, "-m", marked], recorder)
    measured.stop()
    if status:
        raise SystemExit(f"mutants: pytest ended with {status}")
    fast = {test: s for test, s in recorder.seconds.items() if s <= workers.SLOWEST_S}
    data = measured.get_data()
    lines: dict[str, dict[str, list[int]]] = {}
    for file in data.measured_files():
        tests: dict[str, list[int]] = {}
        for number, contexts in data.contexts_by_lineno(file).items():
            for test in fast.keys() & set(contexts):
                tests.setdefault(test, []).append(number)
        lines[str(Path(file).relative_to(root))] = tests
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"lines": lines, "seconds": fast}))
    temporary.replace(path)
