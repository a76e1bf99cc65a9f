"""A forecast in words: its bands, its course, what it rests on, how good such were so far."""

from backend.model import Band, Forecast, Outcome, Plan, TrackRecord, Verdict
from tui.render import units
from tui.render.ink import Ink, Span

NO_RECORD = "no move has been forecast yet"


def forecast_text(forecast: Forecast | None) -> Span:
    """`24–31 s, pause 60–110 ms`."""
    if forecast is None:
        return (units.DASH, Ink.DIM)
    if not forecast.converges:
        return (f"! will not converge: {forecast.needs}".rstrip(": "), Ink.WARN)
    parts = [units.band_s(forecast.total_s)] * bool(forecast.total_s)
    parts += [f"pause {units.band_ms(forecast.pause_ms)}"] * bool(forecast.pause_ms)
    return (", ".join(parts) or forecast.needs or units.DASH, Ink.TEXT)


def course_text(forecast: Forecast) -> str:
    """`5 passes, ~612 M to send, throttle up to 70 %`."""
    passes = forecast.passes
    parts = [f"{passes} pass{'es' * (passes != 1)}" if passes else ""]
    parts += [f"~{units.size(forecast.sent_bytes)} to send" if forecast.sent_bytes else ""]
    if forecast.throttle_percent:
        parts.append(f"the VM slowed by {forecast.throttle_percent} %")
    elif forecast.converges and passes:
        parts.append("no throttle needed")
    parts += ["finishes by post-copy"] * forecast.post_copy
    return ", ".join(part for part in parts if part)


def record_text(record: TrackRecord | None) -> str:
    """`over 12 moves: off by 8 % in the middle, 92 % inside the band`."""
    if record is None or not record.count:
        return NO_RECORD
    return (
        f"over {units.counted(record.count, 'move')}: off by"
        f" {record.median_error_percent:.0f} % in the middle,"
        f" {record.bands_held_percent:.0f} % inside the band"
    )


def inside(band: Band | None, value: float | None) -> bool | None:
    """Whether a figure lies in its band; None where there is nothing to compare."""
    return None if band is None or value is None else band.low <= value <= band.high


def compared(verdict: Verdict) -> list[str]:
    """`total 27.4 s, forecast 24–31 s: inside the band`; only of what has moved."""
    forecast = verdict.forecast
    if forecast is None or verdict.outcome is not Outcome.MOVED:
        return []
    judged = {True: "inside the band", False: "outside the band"}
    pairs = (
        (f"total {verdict.total_s:.1f} s", units.band_s(forecast.total_s), forecast.total_s),
        (f"pause {verdict.pause_ms} ms", units.band_ms(forecast.pause_ms), forecast.pause_ms),
    )
    held = (inside(pairs[0][2], verdict.total_s), inside(pairs[1][2], verdict.pause_ms))
    return [
        f"{was}, forecast {foreseen}: {judged[one]}"
        for (was, foreseen, _), one in zip(pairs, held, strict=True)
        if one is not None
    ] or ["it was not forecast to converge"] * (not forecast.converges)


def detail_rows(plan: Plan) -> list[tuple[str, str, Ink]]:
    """Label, sentence and state of all that a plan says of its course; empty when blocked."""
    forecast = plan.forecast
    if plan.blocked or forecast is None:
        return []
    rows = [_outcome(forecast)]
    rows += [("course", course_text(forecast), Ink.TEXT)] * bool(course_text(forecast))
    for index, remark in enumerate(plan.remarks):
        risky = forecast.post_copy and remark.startswith("Post-copy")
        rows.append(("" if index else "means", remark, Ink.WARN if risky else Ink.TEXT))
    rows += [("rests on", forecast.basis, Ink.DIM)] * bool(forecast.basis)
    return [*rows, ("so far", record_text(plan.record), Ink.DIM)]


def _outcome(forecast: Forecast) -> tuple[str, str, Ink]:
    if not forecast.converges:
        return ("forecast", f"it will not converge: {forecast.needs}".rstrip(": "), Ink.WARN)
    if forecast.total_s is None:
        time = "time not known"
    else:
        likely = units.number(forecast.total_s.mid, 0)
        time = f"{units.band_s(forecast.total_s)}, most likely {likely} s"
    pause = f", then a pause of {units.band_ms(forecast.pause_ms)}" * bool(forecast.pause_ms)
    needs = f" ({forecast.needs})" * bool(forecast.needs)
    return ("forecast", f"{time}{pause}{needs}", Ink.BOLD)
