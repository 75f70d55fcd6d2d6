"""A few thousand new fuzzed graphs in each run, and that the fuzzer finds what is broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import mutations, run

from frn_onnx.graph.matcher import form
from frn_onnx.graph.matcher.axes import Frame

TESTS = Path(__file__).parents[1]


@pytest.mark.fuzz
def test_new_cases(capsys):
    """Prints the seed; ``make fuzz`` makes any case again."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--cases", "3000", "--seconds", "45"],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )
    with capsys.disabled():
        print("\nfuzz:", *done.stdout.splitlines()[:1], *done.stdout.splitlines()[-1:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_nan_that_a_second_where_takes_up():
    """The root of a negative mean: the first Where gives its bound, FRN in its place the NaN."""
    assert run.run_chunk(20261201, 28697, 28698)[1] == []


def test_the_sign_of_a_zero_that_a_quotient_takes_up():
    """1 / (0 * gamma) behind the norm, and a Relu: infinite or 0, by the sign of gamma's zero."""
    assert run.run_chunk(283466013, 1490, 1491)[1] == []


def test_a_size_that_is_divided_by_and_whose_shape_is_read():
    assert run.run_chunk(713419633, 24181, 24182)[1] == []


def test_a_rounding_that_a_quotient_makes_much_of():
    """1 / (y + b), with y near -b, of which the sum of two constants is one."""
    assert run.run_chunk(727431589, 9194, 9195)[1] == []


class TestFindsWhatIsBroken:
    """One guard taken out; the changes that the cases are made by are those that could show it."""

    def assert_found(self, cases: int = 120) -> None:
        _, found = run.run_chunk(11, 0, cases)
        assert {finding.kind for _, finding in found} & {"wrong", "probe"}

    def test_nothing_is_found_where_nothing_is_broken(self):
        assert run.run_chunk(11, 0, 120)[1] == []

    def test_an_axis_twice(self, monkeypatch):
        """x[i] * x[j] taken for x**2."""

        def broadcast(frame, a, b):
            rank = max(len(a), len(b))
            a, b = ((),) * (rank - len(a)) + a, ((),) * (rank - len(b)) + b
            pairs = list(zip(a, b, strict=True))
            if any(frame.solid(i) and frame.solid(j) and i != j for i, j in pairs):
                return None
            return tuple(max(pair, key=len) for pair in pairs)

        monkeypatch.setattr(Frame, "broadcast", broadcast)
        monkeypatch.setattr(mutations, "_CHANGES", (mutations._misaligned_square,))
        self.assert_found()

    def test_a_root_of_a_square(self, monkeypatch):
        """sqrt(x**2) taken for x."""
        power = form.power

        def broken(frame, a, exponent):
            if a.x_power == 2 and exponent == 0.5 and not a.over:
                return a.but(x_power=1)
            return power(frame, a, exponent)

        monkeypatch.setattr(form, "power", broken)
        monkeypatch.setattr(mutations, "_CHANGES", (mutations._wrap,))
        monkeypatch.setattr(mutations, "_WRAPS", (mutations._rooted_square,))
        self.assert_found()
