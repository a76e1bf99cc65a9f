"""A plan: targets and VMs as table rows, findings and the policy as lines."""

from dataclasses import dataclass

from backend.model import DiskAction, Finding, MoveOptions, Plan, Severity
from tui.render import units
from tui.render.disks import disk_ink, disk_words
from tui.render.forecasts import detail_rows, forecast_text
from tui.render.ink import Ink, Line, Span, Spans, cut, fit, spans_of, width_of, wrap
from tui.render.table import Column

_GLYPHS = {
    Severity.OK: ("✓", Ink.OK),
    Severity.WARN: ("!", Ink.WARN),
    Severity.BLOCK: ("✕", Ink.BAD),
}
CHECK = 12


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target with the plan of every chosen VM to it."""

    target: str
    plans: tuple[Plan, ...]

    @property
    def startable(self) -> tuple[Plan, ...]:
        """The plans no finding forbids."""
        return tuple(plan for plan in self.plans if not plan.blocked)

    @property
    def blocked(self) -> tuple[Plan, ...]:
        """The others."""
        return tuple(plan for plan in self.plans if plan.blocked)


def blocks(plan: Plan) -> tuple[Finding, ...]:
    """What forbids it."""
    return tuple(f for f in plan.findings if f.severity is Severity.BLOCK)


def prepared_first(plans: tuple[Plan, ...]) -> list[str]:
    """What is done at the target before these move, each thing once."""
    return list(dict.fromkeys(one.sentence for plan in plans for one in plan.preparations))


def _warned(plans: tuple[Plan, ...]) -> bool:
    return any(f.severity is Severity.WARN for plan in plans for f in plan.findings)


def _target_fit(row: TargetRow, _width: int) -> Spans:
    if not row.startable:
        checks = {finding.check for plan in row.plans for finding in blocks(plan)}
        return spans_of((f"✕ {', '.join(sorted(checks)) or 'no'}", Ink.BAD))
    if row.blocked:
        return spans_of((f"! {len(row.startable)} of {len(row.plans)} fit", Ink.WARN))
    return spans_of(("! fits" if _warned(row.plans) else "✓ fits", _fit_ink(row.plans)))


def _fit_ink(plans: tuple[Plan, ...]) -> Ink:
    return Ink.WARN if _warned(plans) else Ink.OK


def _score(row: TargetRow, _width: int) -> Spans:
    scores = [plan.fit for plan in row.startable if plan.fit is not None]
    return spans_of(str(min(scores)) if scores else (units.DASH, Ink.DIM))


def _free(row: TargetRow, _width: int) -> Spans:
    free = next((plan.free_bytes for plan in row.plans if plan.free_bytes is not None), None)
    return spans_of(units.size(free) if free is not None else (units.DASH, Ink.DIM))


def _target_forecast(row: TargetRow, _width: int) -> Spans:
    known = [plan.forecast for plan in row.startable if plan.forecast]
    if not known:
        return spans_of((units.DASH, Ink.DIM))
    worst = max(known, key=lambda f: (not f.converges, f.total_s.high if f.total_s else 0.0))
    return spans_of("longest " if len(known) > 1 else "", forecast_text(worst))


def _vm_fit(plan: Plan, _width: int) -> Spans:
    if plan.blocked:
        checks = sorted({finding.check for finding in blocks(plan)})
        return spans_of((f"✕ {', '.join(checks)}", Ink.BAD))
    return spans_of(("! fits" if _warned((plan,)) else "✓ fits", _fit_ink((plan,))))


def _vm_forecast(plan: Plan, _width: int) -> Spans:
    if plan.blocked:
        return spans_of((units.DASH, Ink.DIM))
    return spans_of(forecast_text(plan.forecast))


TARGET_COLUMNS: tuple[Column[TargetRow], ...] = (
    Column("target", "TARGET", 9, lambda r, _: spans_of((r.target, Ink.BOLD)), flex=14),
    Column("fits", "FIT", 12, _target_fit, flex=10),
    Column("score", "", 3, _score, rank=1, right=True),
    Column("free", "FREE", 7, _free, right=True),
    Column("forecast", "FORECAST", 25, _target_forecast, narrow=12, flex=40),
)
VM_COLUMNS: tuple[Column[Plan], ...] = (
    Column("vm", "VM", 10, lambda p, _: spans_of((p.vm, Ink.BOLD)), flex=10),
    Column("fits", "FIT", 10, _vm_fit, flex=6),
    Column("how", "MOVE", 25, lambda p, _: spans_of((p.summary, Ink.DIM)), rank=1),
    Column("forecast", "FORECAST", 24, _vm_forecast, rank=2, narrow=12, flex=16),
)


def chosen_lines(plan: Plan, writes: float | None, link: float | None, width: int) -> list[Line]:
    """The race the chosen VM would run."""
    race = [f"writes {units.brief_rate(writes)}"] * (writes is not None)
    race += [f"link {units.brief_rate(link)}"] * (link is not None)
    unknown = "dirty rate not known yet" if plan.mode.copies_memory else "no memory is copied"
    first = spans_of((f"   {plan.vm}: ", Ink.BOLD), ", ".join(race) or unknown)
    return [Line(cut(first, width))]


def forecast_lines(plan: Plan, width: int) -> list[Line]:
    """What is forecast, what that means for the VM, what it rests on, how good such were."""
    lines: list[Line] = []
    for label, said, ink in detail_rows(plan):
        glyph: Span = (" ! ", Ink.WARN) if ink is Ink.WARN else ("   ", Ink.TEXT)
        head = fit(spans_of(glyph, (label, Ink.BOLD)), CHECK + 3)
        rows = wrap((*head, *spans_of((said, ink))), width, indent=CHECK + 3)
        lines += [Line(row) for row in rows]
    return lines


def finding_lines(plan: Plan, width: int) -> list[Line]:
    """What forbids the start, then warnings, the forecast, and last what is well."""
    blocks, warns, well = (
        [row for found in plan.findings if found.severity is one for row in _finding(found, width)]
        for one in (Severity.BLOCK, Severity.WARN, Severity.OK)
    )
    return [*blocks, *warns, *forecast_lines(plan, width), *disk_lines(plan, width), *well]


def disk_lines(plan: Plan, width: int) -> list[Line]:
    """Each disk: from, to, sizes, room, how it is verified."""
    lines: list[Line] = []
    for disk in plan.disks:
        for index, said in enumerate(disk_words(disk, plan.target)):
            label: Span = ("" if index else disk.target, Ink.BOLD)
            head = fit(spans_of(("   ", Ink.TEXT), label), CHECK + 3)
            rows = wrap((*head, *spans_of((said, disk_ink(disk)))), width, indent=CHECK + 3)
            lines += [Line(row) for row in rows]
    return lines


def _finding(finding: Finding, width: int) -> list[Line]:
    glyph, ink = _GLYPHS[finding.severity]
    label = fit(spans_of((f" {glyph} ", ink), (finding.check, Ink.BOLD)), CHECK + 3)
    said = Ink.DIM if finding.severity is Severity.OK else Ink.TEXT
    spans = (*label, *spans_of((finding.sentence, said)))
    if finding.remedy:
        spans += spans_of(("  fix: ", ink), finding.remedy)
    return [Line(row) for row in wrap(spans, width, indent=CHECK + 3)]


def policy_lines(
    plan: Plan, options: MoveOptions, name: str, width: int, brief: bool = False
) -> list[Line]:
    """What the operator allows, and the keys that change it.

    `name`: the policy asked for; `brief`: without what it is about.
    """
    guard: Span = ("encrypted", Ink.OK) if plan.encrypted else ("! plaintext", Ink.BAD)
    own = name == plan.policy.name and plan.mode.copies_memory
    about = plan.policy.about if own and not brief else ""
    first = spans_of(
        (" POLICY ", Ink.HEAD),
        ("◂ ", Ink.KEY),
        (name, Ink.BOLD),
        (" ▸  ", Ink.KEY),
        guard,
        (f"  {about}", Ink.DIM),
    )
    rows = (*wrap(first, width, indent=8), *_limits(plan, options, width))
    more = (*_disks(plan, options, width), *_prepare(plan, options, width))
    return [Line(row) for row in (*rows, *more)]


def _disks(plan: Plan, options: MoveOptions, width: int) -> list[Spans]:
    """Where they are copied to, and whether chains become one image each."""
    placed = [disk for disk in plan.disks if disk.action is DiskAction.COPY]
    if not placed:
        return []
    said = ", ".join(f"{disk.target} to {disk.pool or units.DASH}" for disk in placed)
    spans = spans_of((" DISKS  ", Ink.HEAD), ("p", Ink.KEY), f" {said}")
    if any(disk.layers or disk.flattened for disk in placed):
        chain = "one image ON" if options.flatten else "one image off: chains are kept whole"
        spans = (*spans, *spans_of("   ", ("f", Ink.KEY), f" {chain}"))
    return wrap(spans, width, indent=8)


def _prepare(plan: Plan, options: MoveOptions, width: int) -> list[Spans]:
    """What could be made ready at the target, and whether it will be."""
    if not plan.preparations:
        return []
    on: Span = ("ON: ", Ink.WARN) if options.prepare else ("off; it would ", Ink.TEXT)
    said = "; ".join(prepared_first((plan,)))
    spans = spans_of((" READY  ", Ink.HEAD), ("x", Ink.KEY), " prepare ", on, said)
    return wrap(spans, width, indent=8)


def _limits(plan: Plan, options: MoveOptions, width: int) -> list[Spans]:
    """Each with its key before it, never parted from it."""
    bandwidth = options.bandwidth_bytes_s
    deadline = options.deadline_s or plan.deadline_s
    said: tuple[tuple[str, str], ...] = (
        ("d", f"pause ≤ {options.pause_ms or plan.policy.pause_ms:,} ms"),
        ("D", f"deadline {units.duration(deadline) if deadline else 'none'}"),
        ("b", f"bandwidth {units.rate(bandwidth) if bandwidth else 'unlimited'}"),
        ("w", f"hold {'ON' if options.hold else 'off'}"),
        ("t", f"pause at {units.clock(options.at)}" if options.at else "pause as soon as it can"),
    )
    if not plan.mode.copies_memory:
        said = tuple(one for one in said if one[0] == "b")
    rows = [spans_of((" LIMITS ", Ink.HEAD))]
    for index, (key, text) in enumerate(said):
        item = spans_of("   " * bool(index), (key, Ink.KEY), f" {text}")
        if width_of((*rows[-1], *item)) > width:
            rows.append(spans_of(" " * 8))
            item = item[1:]
        rows[-1] = (*rows[-1], *item)
    return rows


def virsh_lines(plan: Plan, width: int) -> list[Line]:
    """The equal command line, wrapped."""
    spans = spans_of(
        (" VIRSH EQUAL  ", Ink.HEAD), (plan.virsh or "no one command does this", Ink.DIM)
    )
    return [Line(row) for row in wrap(spans, width, indent=14)]
