"""Where the axes of x are: sizes, broadcasting, reshapes, and what none of them can be."""

import numpy as np
import pytest

from frn_onnx.graph.matcher import axes as ax
from frn_onnx.graph.matcher.axes import Frame, Size

OPEN = Frame(("N", 3, "H", "W"), 1)
FIXED = Frame((2, 3, 5, 4), 1)
# Axes 0 and 2 have size 1.
UNITS = Frame((1, 3, 1, 4), 1)
H, W = Size(1, ((2, 1),)), Size(1, ((3, 1),))


class TestSize:
    def test_product(self):
        assert Size(2) * Size(3) == Size(6)
        assert Size(2, ((2, 1),)) * Size(3, ((1, 2), (2, 1))) == Size(6, ((1, 2), (2, 2)))

    def test_powers_cancel(self):
        assert H * W * H**-1 == W
        assert (H * H**-1).number == 1
        assert (H * H) ** 0.5 == H
        assert Size(4, ((2, 2),)) ** 0.5 == Size(2, ((2, 1),))

    @pytest.mark.parametrize(
        ("size", "is_whole"),
        [(Size(3), True), (Size(0.5), False), (H, True), (H**-1, False), (Size(0.5) * H, False)],
    )
    def test_is_whole(self, size, is_whole):
        assert size.is_whole is is_whole

    def test_number(self):
        assert Size(3.0).number == 3
        assert H.number is None


class TestFrame:
    def test_units_and_spatial_axes(self):
        assert OPEN.unit == frozenset()
        assert OPEN.spatial == {2, 3}
        assert UNITS.unit == {0, 2}
        assert UNITS.spatial == {3}
        assert Frame(FIXED.dims, 3).spatial == {1, 2}
        assert Frame(FIXED.dims).spatial == {1, 2, 3}

    def test_channels(self):
        assert OPEN.channels == 3
        assert Frame(OPEN.dims, 3).channels is None
        assert Frame(OPEN.dims).channels is None
        assert Frame(OPEN.dims, 3).with_channels(7) == Frame(("N", 3, "H", 7), 3)

    def test_size(self):
        assert OPEN.size([2, 3]) == H * W
        assert OPEN.size([1, 2]) == Size(3, ((2, 1),))
        assert OPEN.size([]) == Size()
        assert FIXED.size([1, 2, 3]) == Size(60)

    def test_same(self):
        assert UNITS.same(((0,), (1,), (2,), (3,)), ((), (1,), (), (3,)))
        assert UNITS.same(((0, 1), (3,)), ((1, 2), (3,)))
        assert not UNITS.same(((1,), (3,)), ((3,), (1,)))
        assert not UNITS.same(((1,), (3,)), ((), (1,), (3,)))
        assert not OPEN.same(((0,), (1,)), ((), (1,)))

    def test_full(self):
        assert OPEN.full == ((0,), (1,), (2,), (3,))


class TestBroadcast:
    def test_a_mean_beside_x(self):
        small = ((0,), (1,), (), ())
        assert OPEN.broadcast(OPEN.full, small) == OPEN.full
        assert OPEN.broadcast(small, OPEN.full) == OPEN.full

    def test_an_axis_of_size_1_gives_way(self):
        assert UNITS.broadcast(((1,), (3,)), ((2,), (3,))) == ((1,), (3,))
        assert UNITS.broadcast(((2,), (3,)), ((1,), (3,))) == ((1,), (3,))
        assert UNITS.broadcast(((), (3,)), ((2,), (3,))) == ((2,), (3,))

    def test_of_lower_rank_it_stands_at_the_end(self):
        assert OPEN.broadcast(OPEN.full, ((1,), (), ())) == OPEN.full
        assert OPEN.broadcast(((1,), (), ()), OPEN.full) == OPEN.full
        assert OPEN.broadcast(OPEN.full, ((3,),)) == OPEN.full
        assert OPEN.broadcast(OPEN.full, ()) == OPEN.full

    @pytest.mark.parametrize(
        "other",
        [
            ((1,), ()),
            ((0,), (2,), (), ()),
            ((0,), (1,), (3,), (2,)),
            ((0, 1), (2,), (3,)),
        ],
    )
    def test_of_other_axes_is_none(self, other):
        assert OPEN.broadcast(OPEN.full, other) is None
        assert OPEN.broadcast(other, OPEN.full) is None

    def test_the_wider_of_two_is_kept(self):
        """An axis of size 1 may go, the others may not."""
        assert UNITS.broadcast(UNITS.full, ((), (1,), (), ())) == UNITS.full
        found = UNITS.broadcast(((0,), (1,), (), ()), ((), (1, 2), (), (3,)))
        assert found == ((0,), (1, 2), (), (3,))

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            # The outer product of a line with itself: x[i] * x[j].
            (((0,), (1,), (2,), ()), ((0,), (1,), (), (2,))),
            (((2,), ()), ((), (2,))),
            (((2,), (1,)), ((2,), (), (1,))),
        ],
    )
    def test_an_axis_twice_is_none(self, a, b):
        assert OPEN.broadcast(a, b) is None
        assert OPEN.broadcast(b, a) is None

    def test_an_axis_of_size_1_is_never_twice(self):
        frame = Frame((2, 3, 1, 4), 1)
        a, b = ((0,), (1,), (2,), (3,)), ((), (1,), (), (3,))
        assert frame.broadcast(a, b) == a
        assert frame.broadcast(((2,), ()), ((), (2,))) is not None


class TestAxisOfSize:
    def test_the_hint_comes_first(self):
        frame = Frame((2, 3, 4, 4), 1)
        assert frame.axis_of_size(Size(4), [3]) == (3,)
        assert frame.axis_of_size(Size(4), []) == (2,)
        assert frame.axis_of_size(Size(4), [1]) == (2,)

    def test_1_is_no_axis(self):
        assert OPEN.axis_of_size(Size(1), [2]) == ()

    def test_several_axes_in_a_row(self):
        assert OPEN.axis_of_size(H * W, []) == (2, 3)
        assert FIXED.axis_of_size(Size(15), []) == (1, 2)
        assert FIXED.axis_of_size(Size(120), []) == (0, 1, 2, 3)

    def test_of_no_such_size_is_none(self):
        assert OPEN.axis_of_size(None, [2]) is None
        assert OPEN.axis_of_size(Size(7), [2]) is None
        assert FIXED.axis_of_size(Size(10), []) is None


N, C = Size(1, ((0, 1),)), Size(3)


class TestReshape:
    @pytest.mark.parametrize(
        ("frame", "axes", "target", "expected"),
        [
            # Merged, and split again.
            (OPEN, OPEN.full, (N, C, H * W), ((0,), (1,), (2, 3))),
            (OPEN, ((0,), (1,), (2, 3)), (N, C, H, W), OPEN.full),
            (FIXED, FIXED.full, (Size(6), Size(20)), ((0, 1), (2, 3))),
            # One size is not stated: it is what is left between both ends.
            (OPEN, OPEN.full, (None, H, W), ((0, 1), (2,), (3,))),
            (OPEN, OPEN.full, (None,), ((0, 1, 2, 3),)),
            (OPEN, OPEN.full, (N, None), ((0,), (1, 2, 3))),
            (OPEN, OPEN.full, (N, None, W), ((0,), (1, 2), (3,))),
            (OPEN, OPEN.full, (None, H * W), ((0, 1), (2, 3))),
            (FIXED, FIXED.full, (Size(2), None, Size(20)), ((0,), (1,), (2, 3))),
            # Axes of size 1 come and go.
            (OPEN, ((0,), (1,)), (None, C, Size(1), Size(1)), ((0,), (1,), (), ())),
            (OPEN, ((0,), (1,), (), ()), (N, C), ((0,), (1,))),
            (UNITS, UNITS.full, (C, Size(4)), ((0, 1), (2, 3))),
            (UNITS, ((1,), (0,)), (C,), ((1,),)),
            (UNITS, ((), (1,)), (Size(1), C, Size(1)), ((), (1,), ())),
        ],
    )
    def test_moves(self, frame, axes, target, expected):
        found = frame.reshape(axes, target)
        assert found is not None
        assert frame.same(found, expected)

    @pytest.mark.parametrize(
        ("axes", "target"),
        [
            # Two unknown sizes could be anything.
            (OPEN.full, (None, None)),
            # Another order of the axes, or part of one, or more than there is.
            (OPEN.full, (C, N, H, W)),
            (OPEN.full, (N, C, W, H)),
            (OPEN.full, (None, W, H)),
            (OPEN.full, (N, Size(2), None)),
            (OPEN.full, (N, C, H, W, W)),
            (OPEN.full, (N, C, H)),
            (OPEN.full, (N, C)),
            (((0,), (1,)), (None, C, H)),
        ],
    )
    def test_is_none(self, axes, target):
        assert OPEN.reshape(axes, target) is None

    def test_of_fixed_sizes_needs_whole_axes(self):
        """(2, 3, 5, 4) to (2, 5, 3, 4) and to (2, 3, 10, 2) are no moves."""
        assert FIXED.reshape(FIXED.full, [Size(n) for n in (2, 5, 3, 4)]) is None
        assert FIXED.reshape(FIXED.full, [Size(n) for n in (2, 3, 10, 2)]) is None
        assert FIXED.reshape(FIXED.full, [Size(2), None, Size(10)]) is None
        assert FIXED.reshape(FIXED.full, [Size(2), None, Size(2)]) is None


class TestPerChannel:
    @pytest.mark.parametrize(
        ("shape", "axes"),
        [
            ((3, 1, 1), OPEN.full),
            ((1, 3, 1, 1), OPEN.full),
            ((1, 1, 3, 1, 1), OPEN.full),
            ((3,), ((0,), (2,), (3,), (1,))),
            ((3, 1, 1), ((1,), (), ())),
        ],
    )
    def test_one_value_per_channel(self, shape, axes):
        values = OPEN.per_channel(np.array([1.0, 2, 4]).reshape(shape), axes)
        np.testing.assert_array_equal(values, [1, 2, 4])
        assert values.shape == (3,)

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)])
    def test_one_value(self, shape):
        value = OPEN.per_channel(np.full(shape, 7.0), OPEN.full)
        assert value.shape == ()
        assert value == 7

    def test_the_same_all_over_a_plane(self):
        values = np.broadcast_to(np.array([1.0, 2, 4])[:, None, None], (3, 5, 4))
        np.testing.assert_array_equal(FIXED.per_channel(values, FIXED.full), [1, 2, 4])
        assert FIXED.per_channel(np.full((5, 1), 7.0), FIXED.full) == 7

    def test_another_along_a_plane_is_none(self):
        values = np.zeros((3, 5, 4))
        values[1, 2, 3] = 1
        assert FIXED.per_channel(values, FIXED.full) is None

    def test_along_an_axis_of_another_size_is_none(self):
        """It may be this constant that gives the axis its size."""
        assert OPEN.per_channel(np.ones((3, 5, 1)), OPEN.full) is None
        assert FIXED.per_channel(np.ones((3, 7, 1)), FIXED.full) is None
        assert UNITS.per_channel(np.ones((3, 7, 1)), UNITS.full) is None

    def test_in_front_of_all_axes_is_none(self):
        assert OPEN.per_channel(np.ones((2, 1, 3, 1, 1)), OPEN.full) is None

    def test_along_another_axis_is_none(self):
        assert OPEN.per_channel(np.array([1.0, 2, 4]), OPEN.full) is None

    def test_along_a_channel_axis_merged_with_another_is_none(self):
        assert OPEN.per_channel(np.array([1.0, 2, 4]), ((0,), (1, 2))) is None


class TestSqueeze:
    def test_of_positions(self):
        small = ((0,), (1,), (), ())
        assert ax.squeezed(OPEN, small, [2, -1]) == ((0,), (1,))
        assert ax.squeezed(OPEN, small, [2]) == ((0,), (1,), ())
        assert ax.squeezed(UNITS, UNITS.full, [0]) == ((1,), (2,), (3,))

    def test_of_an_axis_that_is_not_1_is_none(self):
        assert ax.squeezed(OPEN, OPEN.full, [2]) is None
        assert ax.squeezed(OPEN, ((0,), (1,), (), ()), [1, 2]) is None

    def test_of_all_that_are_1(self):
        assert ax.squeezed(UNITS, UNITS.full, None) == ((1,), (3,))
        assert ax.squeezed(FIXED, ((0,), (1,), (), ()), None) == ((0,), (1,))

    def test_of_all_where_one_could_be_1_is_none(self):
        assert ax.squeezed(OPEN, ((0,), (1,), (), ()), None) is None
        assert ax.squeezed(OPEN, ((1,), (), ()), None) == ((1,),)


class TestUnsqueeze:
    def test_positions_are_those_of_the_result(self):
        assert ax.unsqueezed(((0,), (1,)), [2, 3]) == ((0,), (1,), (), ())
        assert ax.unsqueezed(((0,), (1,)), [0, -1]) == ((), (0,), (1,), ())
        assert ax.unsqueezed(((0,), (1,)), [1]) == ((0,), (), (1,))

    def test_one_axis_twice_is_refused(self):
        with pytest.raises(ValueError, match="name one axis twice"):
            ax.unsqueezed(((0,), (1,)), [3, -1])


def test_flatten():
    assert ax.flattened(OPEN.full, 1) == ((0,), (1, 2, 3))
    assert ax.flattened(((0,), (), (2, 3)), 2) == ((0,), (2, 3))
    assert ax.flattened(OPEN.full, 0) == ((), (0, 1, 2, 3))
