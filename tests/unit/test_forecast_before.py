"""The forecast before the start: wide, ordered, honest about what is not known."""

from hypothesis import given
from hypothesis import strategies as st

from backend.plan.forecast import forecast_before

MB = 1_000_000


def test_the_labs_guests_lie_in_their_bands() -> None:
    """Measured over 200 Mbit/s: 5.8 s idle, 9.0-12.7 s at 5 MB/s, 41-68 s at 20 MB/s."""
    idle = forecast_before(160 * MB, 24 * MB, 0.1 * MB, None, 300)
    web = forecast_before(280 * MB, 24 * MB, 5 * MB, 100 * MB, 300)
    db = forecast_before(390 * MB, 24 * MB, 20 * MB, 200 * MB, 300)
    for forecast, low_s, high_s in ((idle, 5.8, 5.8), (web, 9.0, 12.7), (db, 41, 68)):
        assert forecast.converges
        assert forecast.total_s is not None
        assert forecast.total_s.low <= low_s
        assert high_s <= forecast.total_s.high
        assert forecast.needs == ""


def test_a_writer_above_the_link_needs_something() -> None:
    forecast = forecast_before(400 * MB, 24 * MB, 60 * MB, 200 * MB, 300)
    assert not forecast.converges
    assert forecast.needs.startswith("writes 60.0 MB/s, sends 24.0 MB/s")
    assert "a pause limit of" in forecast.needs


def test_a_small_working_set_converges_however_fast_it_is_written() -> None:
    assert forecast_before(400 * MB, 100 * MB, 500 * MB, 2 * MB, 300).converges


def test_what_is_not_known_is_said() -> None:
    forecast = forecast_before(400 * MB, None, None, None, 300)
    assert forecast.total_s is None
    assert "link's speed is not known" in forecast.needs
    assert "dirty rate is not known yet: it has not been moved before" in forecast.needs
    no_rate = forecast_before(400 * MB, 24 * MB, None, None, 300)
    assert no_rate.total_s is not None
    assert no_rate.passes is None
    assert no_rate.total_s.high > 3 * no_rate.total_s.mid


@given(
    st.integers(50 * MB, 10**12),
    st.one_of(st.none(), st.floats(MB, 10**10)),
    st.one_of(st.none(), st.floats(0, 10**10)),
    st.one_of(st.none(), st.floats(MB, 10**12)),
    st.integers(1, 2_000_000),
)
def test_bands_are_ordered_and_nothing_is_negative(
    memory: int, link: float | None, dirty: float | None, over: float | None, pause_ms: int
) -> None:
    forecast = forecast_before(memory, link, dirty, over, pause_ms)
    for band in (forecast.total_s, forecast.pause_ms):
        if band is not None:
            assert 0 <= band.low <= band.mid <= band.high
    assert forecast.converges or forecast.needs
