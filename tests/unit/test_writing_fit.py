"""The curve fitted to coarse counts: its band holds what is true, and nothing breaks it."""

import random
import time
from math import exp, isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.plan.precopy import Writing
from backend.plan.writes import Count, WritingBand, explains, fit

MB = 1_000_000.0
PAGE = 2.0 * MB
"""What one sampled page of 512 MiB stands for."""
MOST = 300 * MB
PERIODS_S = (1.0, 2.0, 4.0, 8.0)


def poisson(chance: random.Random, mean: float) -> int:
    limit, product, hits = exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        hits += 1
    return hits


def counted(chance: random.Random, rate: float, cap: float, rounds: int = 3) -> tuple[Count, ...]:
    return tuple(
        Count(s, poisson(chance, min(rate * s, cap) / PAGE) * PAGE, PAGE)
        for _ in range(rounds)
        for s in PERIODS_S
    )


def dirtied(band: WritingBand, seconds: float) -> tuple[float, float, float]:
    return band.low.dirtied(seconds), band.mid.dirtied(seconds), band.high.dirtied(seconds)


def test_the_band_holds_what_is_true_four_times_in_five() -> None:
    chance, held, rounds = random.Random(41), 0, 120
    errors = []
    for _ in range(rounds):
        rate = exp(chance.uniform(0.5, 4.4)) * MB
        cap = exp(chance.uniform(3.5, 5.6)) * MB
        band = fit(counted(chance, rate, cap), MOST)
        assert band is not None
        true = min(rate * 10, cap)
        low, mid, high = dirtied(band, 10.0)
        held += low <= true <= high
        errors.append(abs(mid - true) / true)
    assert held / rounds >= 0.8
    assert sorted(errors)[rounds // 2] < 0.15


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            Count,
            st.floats(0.5, 60),
            st.floats(0, 1e13),
            st.floats(4096, 1e8),
        ),
        min_size=1,
        max_size=8,
    ),
    st.floats(1, 1e13),
)
def test_any_counts_give_an_ordered_band(counts: list[Count], most: float) -> None:
    band = fit(counts, most)
    assert band is not None
    for seconds in (0.1, 1.0, 10.0, 1000.0):
        low, mid, high = dirtied(band, seconds)
        assert 0 <= low <= mid * 1.0001
        assert mid <= high * 1.0001
        assert isfinite(high)
    for curve in (band.low, band.mid, band.high):
        assert curve.cap_bytes <= most * 1.0001
        assert curve.dirtied(1.0) <= curve.dirtied(2.0)


def test_nothing_counted() -> None:
    assert fit((), MOST) is None
    assert explains(Writing(MB, 0, MB), ())


def test_a_vm_that_wrote_nothing_is_quiet() -> None:
    band = fit(tuple(Count(s, 0.0, PAGE) for s in PERIODS_S), MOST)
    assert band is not None
    assert band.mid.rate_bytes_s < 1 * MB
    assert band.high.dirtied(1.0) < 4 * MB


def test_one_reading_is_enough_for_a_wide_band() -> None:
    band = fit((Count(1.0, 20 * MB, PAGE),), MOST)
    assert band is not None
    low, _, high = dirtied(band, 1.0)
    assert low < 20 * MB < high
    assert 12 * MB < band.mid.rate_bytes_s < 32 * MB


def test_more_written_is_more_fitted() -> None:
    mids = []
    for rate in (2 * MB, 5 * MB, 10 * MB, 20 * MB, 40 * MB):
        counts = tuple(Count(s, min(rate * s, 200 * MB), PAGE) for s in PERIODS_S)
        band = fit(counts, MOST)
        assert band is not None
        mids.append(band.mid.dirtied(2.0))
    assert mids == sorted(mids)


def test_bursts_are_seen() -> None:
    quiet = tuple(Count(s, 0.0, PAGE) for s in PERIODS_S)
    busy = tuple(Count(s, 40 * MB * s, PAGE) for s in PERIODS_S)
    band = fit((*quiet, *busy), MOST)
    assert band is not None
    assert not band.steady
    steady = fit((*busy, *busy), MOST)
    assert steady is not None
    assert steady.steady


def test_a_curve_seen_before_is_kept_while_it_explains() -> None:
    counts = tuple(Count(s, 5 * MB * s, PAGE) for s in PERIODS_S)
    assert explains(Writing(5 * MB, 0, 100 * MB), counts)
    assert explains(Writing(5.5 * MB, 0, 100 * MB), counts)
    assert not explains(Writing(40 * MB, 0, 200 * MB), counts)
    assert not explains(Writing(0.2 * MB, 0, 5 * MB), counts)
    assert not explains(Writing(0, 0, 0), counts)


@pytest.mark.parametrize("rounds", [1, 3])
def test_it_is_quick(rounds: int) -> None:
    spans = []
    for seed in range(5):
        counts = counted(random.Random(seed), 20 * MB, 100 * MB, rounds)
        begun = time.process_time()
        fit(counts, MOST)
        spans.append(time.process_time() - begun)
    assert min(spans) < 0.030
