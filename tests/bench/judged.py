"""Forecasts against what happened: a line per migration, and the summary with its goals. Pure."""

from collections.abc import Iterable
from statistics import median
from typing import Any

from tests.bench.cases import Case
from tests.bench.report import BUDGET_MS, Goal

PAUSE_FACTOR = 1.5

Outcome = dict[str, Any]
"""A line of the file: `number`, `case`, `forecast`, `moved`, `total_s`, `pause_ms`, `second`."""


def error_percent(one: Outcome) -> float | None:
    """Of the total time, with its sign; None where it did not move or was not forecast."""
    band = _band(one, "total_s")
    if band is None or not one["moved"] or not one["total_s"]:
        return None
    return float((band["mid"] - one["total_s"]) / one["total_s"] * 100)


def pause_factor(one: Outcome) -> float | None:
    """How far the pause was from its forecast, whichever was longer: 1 is exact."""
    band = _band(one, "pause_ms")
    if band is None or not one["moved"] or not one["pause_ms"] or not band["mid"]:
        return None
    ratio = band["mid"] / one["pause_ms"]
    return float(max(ratio, 1 / ratio))


def held(one: Outcome, key: str) -> bool | None:
    """Whether `total_s` or `pause_ms` lay inside its band."""
    band = _band(one, key)
    if band is None or not one["moved"] or one[key] is None:
        return None
    return bool(band["low"] <= one[key] <= band["high"])


def width(one: Outcome, key: str) -> float | None:
    """(high - low) / mid."""
    band = _band(one, key)
    return None if band is None or not band["mid"] else (band["high"] - band["low"]) / band["mid"]


def second_error_percent(one: Outcome) -> float | None:
    """Of the time that was left after pass 2, with its sign."""
    second = one["second"]
    if not one["moved"] or second["end_s"] is None or one["total_s"] <= second["t_s"]:
        return None
    left_s = one["total_s"] - second["t_s"]
    return float((second["end_s"] - one["total_s"]) / left_s * 100)


def second_total_error_percent(one: Outcome) -> float | None:
    """Of the total time as expected after pass 2, with its sign."""
    if second_error_percent(one) is None:
        return None
    return float((one["second"]["end_s"] - one["total_s"]) / one["total_s"] * 100)


def judged_right(one: Outcome) -> bool | None:
    """Under gentle: was `converges` what happened?"""
    if one["case"]["policy"] != "gentle" or not one["forecast"] or one["failure"]:
        return None
    return bool(one["forecast"]["converges"] == one["moved"])


def line(one: Outcome) -> str:
    """One migration."""
    case = Case(**one["case"])
    what = (
        f"{one['number']:2} {case.memory_mib:4} MiB {case.link_mbit} mbit {case.policy:8}"
        f" {case.rate_mb_s:2} MB/s over {case.over_mb:3} MB"
    )
    converges = (one["forecast"] or {}).get("converges")
    said = {True: "converges", False: "does not", None: "no forecast"}[converges]
    ended = "moved" if one["moved"] else "stayed"
    total, pause = _shown(one, "total_s"), _shown(one, "pause_ms")
    errors = f"error {_f(error_percent(one), '+.0f')} % after pass 2 "
    errors += f"{_f(second_total_error_percent(one), '+.0f')} %"
    errors += f" ({_f(second_error_percent(one), '+.0f')} % of what was left)"
    parts = [what, f"{said:11} {ended:6}", f"s {total}", f"ms {pause}", errors]
    return "  ".join([*parts, *([one["failure"]] if one["failure"] else [])])


def summary(outcomes: list[Outcome]) -> list[Goal]:
    """The figures of the issue, 6.3, and the pauses under balanced (6.2)."""
    forecast = [one for one in outcomes if one["forecast"]]
    errors = _known(map(error_percent, outcomes))
    factors = _known(map(pause_factor, outcomes))
    seconds = _known(map(second_total_error_percent, outcomes))
    right = [r for one in outcomes if (r := judged_right(one)) is not None]
    gentle = [one for one in outcomes if judged_right(one) is not None]
    stayed = sum(not one["moved"] for one in gentle)
    found = [
        Goal("migrations that were forecast", str(len(forecast)), ">= 40", len(forecast) >= 40),
        _most("median error of total, %", [abs(e) for e in errors], 15.0),
        _share(f"pauses within {PAUSE_FACTOR}x", [f <= PAUSE_FACTOR for f in factors], 0.5),
        _most("median factor of the pause", factors, PAUSE_FACTOR),
    ]
    for key, most in (("total_s", 0.6), ("pause_ms", 1.0)):
        holds = [h for one in outcomes if (h := held(one, key)) is not None]
        widths = _known(width(one, key) for one in outcomes)
        found.append(_share(f"{key}: band held", holds, 0.8))
        found.append(_most(f"{key}: median width of the band", widths, most))
    lefts = _known(map(second_error_percent, outcomes))
    found.append(_most("after pass 2: median error of total, %", [*map(abs, seconds)], 10.0))
    found.append(_most("after pass 2: median error of what is left, %", [*map(abs, lefts)], 10.0))
    found.append(_share(f"gentle: converges or not ({stayed} did not)", right, 0.95))
    pauses = [
        one["pause_ms"]
        for one in outcomes
        if one["case"]["policy"] == "balanced" and one["moved"] and one["pause_ms"] is not None
    ]
    found.append(_share("balanced: pauses within 300 ms", [p <= BUDGET_MS for p in pauses], 0.95))
    within = [p <= 1.5 * BUDGET_MS for p in pauses]
    found.append(_share("balanced: pauses within 450 ms", within, 1.0))
    return found


def _band(one: Outcome, key: str) -> dict[str, float] | None:
    band: dict[str, float] | None = (one["forecast"] or {}).get(key)
    return band


def _shown(one: Outcome, key: str) -> str:
    band = _band(one, key)
    said = f"{band['low']:.4g}-{band['mid']:.4g}-{band['high']:.4g}" if band else "–"
    return f"{said}: {_f(one[key], '.4g')}"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _most(what: str, values: list[float], most: float) -> Goal:
    if not values:
        return Goal(what, "–", f"<= {most}", None)
    found = median(values)
    return Goal(what, f"{found:.2f} of {len(values)}", f"<= {most}", found <= most)


def _share(what: str, values: list[bool], least: float) -> Goal:
    if not values:
        return Goal(what, "–", f">= {least:.0%}", None)
    share = sum(values) / len(values)
    return Goal(
        what, f"{sum(values)}/{len(values)} = {share:.0%}", f">= {least:.0%}", share >= least
    )


def _f(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
