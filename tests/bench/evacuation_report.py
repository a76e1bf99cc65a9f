"""What `evacuation.py` prints: a line per run, a table per case, the goals and whether met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from backend.lab.rates import parse_link_rate
from tests.bench.report import Goal

TWO_TARGETS, ONE_WIRE = "two-targets", "one-wire"
BELOW_PART = 0.85
"""Of the better cap, where two targets can be sent to at once."""
ABOUT_PART = 1.05
"""Of the better cap, where all share one wire."""
LIMIT_PART = 1.2


@dataclass(frozen=True, slots=True)
class Case:
    """How the links are shaped while the host is emptied."""

    name: str
    source: str
    """What the host can send."""
    target: str
    """What each target can receive."""

    @property
    def source_bits_s(self) -> int:
        return parse_link_rate(self.source)

    @property
    def target_bits_s(self) -> int:
        return parse_link_rate(self.target)


@dataclass(frozen=True, slots=True)
class Wire:
    """What went over one wire during a run, as its interface counts."""

    name: str
    sent_bytes: int
    bits_s: int

    @property
    def least_s(self) -> float:
        """At the wire's rate."""
        return 8 * self.sent_bytes / self.bits_s


@dataclass(frozen=True, slots=True)
class Moved:
    """One VM of a run; seconds from its start."""

    vm: str
    target: str
    began_s: float
    ended_s: float
    pause_ms: int | None
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Ran:
    """One evacuation, from its start to its last verdict."""

    case: str
    round: int
    cap: int | None
    """None: the computed order."""
    load_average: float
    """Before it."""
    total_s: float
    forecast_s: float | None
    moves: tuple[Moved, ...]
    wires: tuple[Wire, ...]
    notes: tuple[str, ...] = ()

    @property
    def worst_pause_ms(self) -> int:
        """Of all VMs that ran."""
        return max(one.pause_ms for one in self.moves if one.pause_ms is not None)


def name_of(cap: int | None) -> str:
    """As it is printed."""
    return "computed" if cap is None else f"cap of {cap}"


def limit_s(taken: Sequence[Ran]) -> float:
    """Bytes / links: the busiest wire, with the least bytes that any run of the case sent on it."""
    count = len(taken[0].wires)
    return max(min(one.wires[number].least_s for one in taken) for number in range(count))


def line(one: Ran) -> str:
    """One run, and when each of its VMs moved."""
    forecast = "" if one.forecast_s is None else f" (forecast {one.forecast_s:.0f})"
    parts = [
        f"{one.case} round {one.round} {name_of(one.cap):8} {one.total_s:5.1f} s{forecast}",
        f"worst pause {one.worst_pause_ms} ms  load {one.load_average:.1f}",
        "  ".join(f"{wire.name} {wire.sent_bytes / 1e6:.0f} MB" for wire in one.wires),
    ]
    moves = (
        f"    {move.began_s:5.1f}–{move.ended_s:5.1f} s  {move.vm} to {move.target}"
        f"  {move.sent_bytes / 1e6:.0f} MB  pause {move.pause_ms or '–'} ms"
        for move in sorted(one.moves, key=lambda move: move.began_s)
    )
    return "\n".join(("  ".join(parts), *moves))


def table(taken: Sequence[Ran]) -> str:
    """Of one case: medians of each way, against the limit."""
    least_s = limit_s(taken)
    rows = [f"\n{taken[0].case}: limit {least_s:.1f} s (least bytes of the busiest wire)"]
    for cap in dict.fromkeys(one.cap for one in taken):
        some = [one for one in taken if one.cap == cap]
        total_s = median(one.total_s for one in some)
        totals = ", ".join(f"{one.total_s:.1f}" for one in some)
        pauses = ", ".join(str(one.worst_pause_ms) for one in some)
        rows.append(
            f"  {name_of(cap):9} median {total_s:5.1f} s ({totals})  {total_s / least_s:.2f} of the"
            f" limit  worst pauses {pauses} ms"
        )
    return "\n".join(rows)


def goals(taken: Sequence[Ran]) -> list[Goal]:
    """Of every case that was measured all three ways."""
    found: list[Goal] = []
    for case in dict.fromkeys(one.case for one in taken):
        of_case = [one for one in taken if one.case == case]
        ours = [one for one in of_case if one.cap is None]
        caps = [
            [one for one in of_case if one.cap == cap]
            for cap in dict.fromkeys(one.cap for one in of_case if one.cap is not None)
        ]
        if ours and caps:
            found += _goals(case, ours, caps, limit_s(of_case))
    return found


def _goals(
    case: str, ours: Sequence[Ran], caps: Sequence[Sequence[Ran]], least_s: float
) -> list[Goal]:
    total_s = _middle(ours, lambda one: one.total_s)
    better_s = min(_middle(some, lambda one: one.total_s) for some in caps)
    pause_ms = _middle(ours, lambda one: one.worst_pause_ms)
    theirs_ms = min(_middle(some, lambda one: one.worst_pause_ms) for some in caps)
    most = BELOW_PART if case == TWO_TARGETS else ABOUT_PART
    found = [_ratio(f"{case}: of the better cap's time", total_s, better_s, most)]
    if case == ONE_WIRE:
        found.append(_ratio(f"{case}: of the limit", total_s, least_s, LIMIT_PART))
    shown = f"{pause_ms:.0f} / {theirs_ms:.0f} ms"
    met = pause_ms <= theirs_ms
    found.append(Goal(f"{case}: worst pause / the better cap's", shown, "not longer", met))
    return found


def _ratio(what: str, ours_s: float, theirs_s: float, most: float) -> Goal:
    shown = f"{ours_s / theirs_s:.2f} ({ours_s:.1f} / {theirs_s:.1f} s)"
    return Goal(what, shown, f"<= {most}", ours_s <= most * theirs_s)


def _middle(some: Sequence[Ran], value: Callable[[Ran], float]) -> float:
    return median(map(value, some))
