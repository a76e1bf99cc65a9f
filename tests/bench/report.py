"""What `migrate.py` prints: a line per migration, a table per load, the goals and whether met."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from tests.bench.measure import Measured
from tests.bench.movers import AUTO_CONVERGE, BALANCED, DEFAULT, MOVERS, MUST_FINISH, POST_COPY

BUDGET_MS = 300
FINISH_SLACK = 1.15
FINISH_MORE_S = 2.0

_HEADER = (
    "MOVER", "MOVED", "TOTAL s", "WALL s", "PAUSE ms", "OUTAGE ms", "MB SENT", "LOST WORK s",
    "FORECAST %", "OF LIMIT", "MEMORY",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing the issue asks for; `met` None: not measured."""

    what: str
    found: str
    goal: str
    met: bool | None


def line(one: Measured) -> str:
    """One migration."""
    ended = "moved" if one.moved else "stopped" if one.stopped else "FAILED"
    parts = [
        f"{one.load:6} {one.mover:20} {one.source}>{one.target} {ended:7}",
        f"total {_f(one.total_s, 1)} s wall {_f(one.wall_s, 1)} s pause {_f(one.pause_ms)} ms",
        f"outage {_f(one.outage_ms)} ms {_mb(one)} MB lost {_f(one.lost_work_s, 1)} s",
        f"load {one.load_average:.1f} full {one.full_bytes_s / 1e6:.1f} MB/s",
    ]
    if one.forecast:
        parts.append(_forecast(one))
    if one.memory_ok is False:
        parts.append("MEMORY DAMAGED")
    if one.failure:
        parts.append(one.failure)
    return "  ".join(parts)


def _forecast(one: Measured) -> str:
    total, pause = (one.forecast or {}).get("total_s"), (one.forecast or {}).get("pause_ms")
    shown = [
        f"{name} {band['low']:.4g}-{band['mid']:.4g}-{band['high']:.4g}"
        for name, band in (("s", total), ("ms", pause))
        if band
    ]
    return f"forecast {' '.join(shown) or 'none'}"


def tables(taken: list[Measured]) -> Iterable[str]:
    """A table per load, medians; `>` marks what was stopped at the limit."""
    for load in dict.fromkeys(one.load for one in taken):
        of_load = [one for one in taken if one.load == load]
        in_use = median(one.in_use_bytes for one in of_load)
        limit_s = median(one.limit_s for one in of_load)
        yield f"\n{load}: {in_use / 1e6:.0f} MB in use, {limit_s:.1f} s at the link's rate"
        rows: list[tuple[str, ...]] = [_HEADER]
        for mover in MOVERS:
            some = [one for one in of_load if one.mover == mover.name]
            if some:
                rows.append(_row(mover.name, some))
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        for row in rows:
            yield "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _row(name: str, some: list[Measured]) -> tuple[str, ...]:
    timed = [one for one in some if one.moved or one.stopped]
    mark = ">" if any(one.stopped for one in timed) else ""
    total = _median(timed, lambda one: one.total_s)
    ratio = _median(timed, lambda one: one.total_s and one.total_s / one.limit_s)
    error = _median(timed, lambda one: one.forecast_error_percent)
    checked = {one.memory_ok for one in some if one.memory_ok is not None}
    memory = "DAMAGED" if False in checked else "good" if checked else "–"
    return (
        name,
        f"{sum(one.moved for one in some)}/{len(some)}",
        mark + _f(total, 1),
        mark + _f(_median(timed, lambda one: one.wall_s), 1),
        _f(_median(timed, lambda one: one.pause_ms)),
        _f(_median(timed, lambda one: one.outage_ms)),
        _f(_median(timed, _sent_mb)),
        _f(_median(timed, lambda one: one.lost_work_s), 1),
        "–" if error is None else f"{error:+.0f}",
        mark + _f(ratio, 2),
        memory,
    )


def goals(taken: list[Measured]) -> list[Goal]:
    """The ratios of the issue, 6.1, and the pauses of 6.2 as far as this run has them."""
    found: list[Goal] = []
    for load in ("idle", "web"):
        found += _quiet_goals(taken, load)
    near = [_total(taken, "near", mover.name) for mover in (DEFAULT, AUTO_CONVERGE)]
    better = min((total for total in near if total is not None), default=None)
    ours = _total(taken, "near", BALANCED.name)
    found.append(_ratio("near, balanced: total of the better virsh's (live)", ours, better, 0.7))
    for what, pick, most in (
        ("total", _total, 0.25),
        ("lost work", _lost, 0.5),
    ):
        ours, theirs = (pick(taken, "above", m.name) for m in (BALANCED, AUTO_CONVERGE))
        found.append(_ratio(f"above, balanced: {what} of auto-converge's", ours, theirs, most))
    for load in dict.fromkeys(one.load for one in taken):
        ours, theirs = (_total(taken, load, m.name) for m in (MUST_FINISH, POST_COPY))
        found.append(_ratio(f"{load}, must-finish: total of post-copy's", ours, theirs, 0.9))
        found += _finish_goals(taken, load)
    return [*found, *_pause_goals(taken), *_honesty_goals(taken)]


def _quiet_goals(taken: list[Measured], load: str) -> list[Goal]:
    total, their_total = (_total(taken, load, mover.name) for mover in (BALANCED, DEFAULT))
    ours, theirs = (_of(taken, load, mover.name) for mover in (BALANCED, DEFAULT))
    pause, their_pause = (_median(some, lambda one: one.pause_ms) for some in (ours, theirs))
    more = [one.wall_s - one.total_s for one in ours if one.wall_s and one.total_s]
    return [
        _ratio(f"{load}, balanced: total of virsh default's", total, their_total, 1.05),
        _ratio(f"{load}, balanced: median pause of virsh default's", pause, their_pause, 0.4),
        _most(f"{load}, balanced: wall beyond total, s", max(more, default=None), 5.0),
    ]


def _finish_goals(taken: list[Measured], load: str) -> list[Goal]:
    """Against what the link allows: bytes in use and those dirtied before the switch."""
    pairs = [
        (one.total_s, (one.in_use_bytes + one.dirtied_bytes) / one.link_bytes_s)
        for one in _of(taken, load, MUST_FINISH.name)
        if one.total_s is not None
    ]
    if not pairs:
        return []
    total = median(total for total, _ in pairs)
    least = median(least for _, least in pairs)
    bound = FINISH_SLACK * least + FINISH_MORE_S
    what = f"{load}, must-finish: total s, the link's least being {least:.1f} s"
    return [Goal(what, f"{total:.1f}", f"<= {bound:.1f}", total <= bound)]


def _pause_goals(taken: list[Measured]) -> list[Goal]:
    pauses = [
        one.pause_ms
        for one in taken
        if one.mover == BALANCED.name and one.moved and one.pause_ms is not None
    ]
    if not pauses:
        return []
    within = sum(pause <= BUDGET_MS for pause in pauses)
    never = sum(pause <= 1.5 * BUDGET_MS for pause in pauses)
    count = len(pauses)
    return [
        Goal("balanced: pauses within 300 ms", f"{within}/{count}", "95 %", within >= 0.95 * count),
        Goal("balanced: pauses within 450 ms", f"{never}/{count}", "all", never == count),
    ]


def _honesty_goals(taken: list[Measured]) -> list[Goal]:
    errors = [abs(e) for one in taken if (e := one.forecast_error_percent) is not None]
    checked = [one.memory_ok for one in taken if one.memory_ok is not None]
    found = [Goal("memory checked good", f"{sum(checked)}/{len(checked)}", "all", all(checked))]
    if errors:
        error = median(errors)
        what = f"forecast before the start: median error of total of {len(errors)}, %"
        found.append(_most(what, error, 15.0))
    return found


def goal_line(goal: Goal) -> str:
    """One goal."""
    met = {True: "met", False: "NOT MET", None: "not measured"}[goal.met]
    return f"{met:12}  {goal.what}: {goal.found} (goal {goal.goal})"


def _ratio(what: str, ours: float | None, theirs: float | None, most: float) -> Goal:
    if ours is None or not theirs:
        return Goal(what, "–", f"<= {most}", None)
    shown = f"{ours / theirs:.2f} ({ours:.1f} / {theirs:.1f})"
    return Goal(what, shown, f"<= {most}", ours <= most * theirs)


def _most(what: str, found: float | None, most: float) -> Goal:
    if found is None:
        return Goal(what, "–", f"<= {most}", None)
    return Goal(what, f"{found:.1f}", f"<= {most}", found <= most)


def _of(taken: list[Measured], load: str, mover: str) -> list[Measured]:
    return [one for one in taken if (one.load, one.mover) == (load, mover) and one.moved]


def _total(taken: list[Measured], load: str, mover: str) -> float | None:
    """The median; theirs counts from the limit where it was stopped there, ours then is no time."""
    theirs = mover not in (BALANCED.name, MUST_FINISH.name)
    some = [
        one
        for one in taken
        if (one.load, one.mover) == (load, mover) and (one.moved or (one.stopped and theirs))
    ]
    return _median(some, lambda one: one.total_s)


def _lost(taken: list[Measured], load: str, mover: str) -> float | None:
    some = [one for one in taken if (one.load, one.mover) == (load, mover)]
    return _median([one for one in some if one.moved or one.stopped], lambda one: one.lost_work_s)


def _median(some: Iterable[Measured], value: Callable[[Measured], float | None]) -> float | None:
    values = [found for one in some if (found := value(one)) is not None]
    return median(values) if values else None


def _sent_mb(one: Measured) -> float | None:
    sent = one.sent_bytes or one.wire_bytes
    return None if sent is None else sent / 1e6


def _mb(one: Measured) -> str:
    return _f(_sent_mb(one))


def _f(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
