"""The chart as text pictures: curves, axes, windows."""

from hypothesis import given
from hypothesis import strategies as st

from tui.render import chart


def picture(masks: chart.Masks) -> list[str]:
    return ["".join(chr(0x2800 + mask) if mask else " " for mask in row) for row in masks]


def test_a_falling_line() -> None:
    masks = chart.rasterize([(0, 8), (8, 0)], 4, 2, 8, 8)
    assert picture(masks) == ["⠑⢄  ", "  ⠑⢄"]


def test_a_flat_line_lies_on_the_floor() -> None:
    assert picture(chart.rasterize([(0, 0), (8, 0)], 4, 2, 8, 8)) == ["    ", "⣀⣀⣀⣀"]


def test_the_limit_itself_is_inside() -> None:
    assert picture(chart.rasterize([(0, 8), (8, 8)], 4, 2, 8, 8)) == ["⠉⠉⠉⠉", "    "]


def test_a_dotted_line_reads_as_one_without_colour() -> None:
    assert picture(chart.rasterize([(0, 0), (8, 0)], 4, 1, 8, 8, dotted=True)) == ["⣀ ⣀ "]


def test_a_saw_tooth_goes_straight_up() -> None:
    assert picture(chart.rasterize([(0, 0), (4, 0), (4, 7.9), (8, 0)], 4, 2, 8, 8)) == [
        "  ⣧ ",
        "⣀⣀⡇⢣",
    ]


def test_half_a_window_leaves_half_empty() -> None:
    assert picture(chart.rasterize([(0, 0), (3.9, 0)], 4, 1, 8, 8)) == ["⣀⣀  "]


def test_no_room_is_no_picture() -> None:
    assert chart.rasterize([(0, 1)], 0, 0, 8, 8) == []


def test_a_new_sample_changes_a_column_not_the_picture() -> None:
    points = [(t / 5, 100 - t) for t in range(90)]
    before = chart.rasterize(points, 40, 10, 30, 100)
    after = chart.rasterize([*points, (18.0, 10.0)], 40, 10, 30, 100)
    changed = {x for a, b in zip(before, after, strict=True) for x in range(40) if a[x] != b[x]}
    assert len(changed) <= 2


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 1e9)), max_size=200))
def test_any_samples_stay_inside(points: list[tuple[float, float]]) -> None:
    masks = chart.rasterize(sorted(points), 20, 5, 60.0, 1e9)
    assert [len(row) for row in masks] == [20] * 5
    assert all(0 <= mask < 256 for row in masks for mask in row)


def test_thinning_keeps_the_peaks() -> None:
    points = [(t / 100, 0.0) for t in range(3000)]
    points[1500] = (15.0, 8.0)
    rows = picture(chart.rasterize(points, 20, 4, 30, 8))
    assert rows[0].strip()


def test_the_window_doubles() -> None:
    assert [chart.window_s(t) for t in (0, 29, 30, 31, 61, 1000)] == [30, 30, 30, 60, 120, 1920]


def test_limits_go_in_steps() -> None:
    assert [chart.steps_up(v) for v in (0, 1, 1.2, 3, 7, 23e6, 51e6)] == [
        1,
        1,
        2,
        5,
        10,
        50e6,
        100e6,
    ]


def test_a_limit_rises_at_once_and_falls_late() -> None:
    assert chart.steady_limit(23e6, 0) == 50e6
    assert chart.steady_limit(18e6, 50e6) == 50e6
    assert chart.steady_limit(60e6, 50e6) == 100e6
    assert chart.steady_limit(9e6, 50e6) == 10e6


def test_passes_are_marked_where_they_begin() -> None:
    assert chart.pass_starts([(0, 1), (5, 1), (6, 2), (7, 2), (9, 5)]) == [(6, 2), (9, 5)]
    assert chart.pass_starts([]) == []


def test_the_axis_carries_marks_and_its_length() -> None:
    assert chart.axis(30, 60, [(20, 2), (30, 3)]) == "──────────┊2───┊3──────── 60 s"


def test_a_mark_without_room_is_left_out() -> None:
    assert "┊3" not in chart.axis(30, 60, [(20, 2), (20.5, 3)])
    assert "┊9" not in chart.axis(30, 60, [(59, 9)])


@given(st.integers(0, 200), st.lists(st.tuples(st.floats(0, 60), st.integers(2, 5000)), max_size=9))
def test_the_axis_is_as_wide_as_the_plot(width: int, marks: list[tuple[float, int]]) -> None:
    assert len(chart.axis(width, 60, sorted(marks))) == width
