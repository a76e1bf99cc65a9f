"""What moving the chosen VMs would mean, and the explicit start. Nothing is touched before it."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from backend.model import MoveOptions, Plan, Vm
from backend.service.client import FerryError
from backend.service.protocol import MakePlan, PlanReply, Refused, Start, Started
from tui.actions import Action
from tui.render import headline, plan_rows
from tui.render.ink import Ink, Line, Span, line
from tui.render.plan_rows import TargetRow, blocks
from tui.screens.plan_limits import PlanLimits
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import Painted, PaintedLine, Scrolled

STARTING = "The start is under way …"
LOW = 30
"""Rows of a terminal on which findings matter more than what a policy is about."""


class PlanScreen(PlanLimits):
    """Targets, VMs, and the findings of the chosen VM to the chosen target."""

    NAME = "plan"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("start", "enter", "start", "Start the move to the target under the cursor."),
        *PlanLimits.LIMITS,
        Action("tables", "tab", "tables", "Go on to the next table or the findings."),
        Action("again", "r", "plan again", "Ask both hosts once more."),
        Action("back", "escape", "back", "Back to the fleet; nothing was touched."),
    )

    def __init__(self, vms: tuple[Vm, ...], target: str = "") -> None:
        """`target`: the cursor begins there; empty: on the best."""
        super().__init__()
        self._vms = vms
        self._first = target
        self._plans: tuple[Plan, ...] = ()
        self._made_for = MoveOptions()
        """What the plans at hand were made for."""
        self._asked = 0
        self._answered = 0
        self._starting = False
        self._targets: LiveTable[TargetRow] = LiveTable(
            plan_rows.TARGET_COLUMNS,
            lambda row: row.target,
            dim=lambda row: not row.startable,
            empty="asking both hosts …",
            id="targets",
        )
        self._table: LiveTable[Plan] = LiveTable(
            plan_rows.VM_COLUMNS, lambda plan: plan.uuid, empty="–", id="plan-vms"
        )

    def body(self) -> Iterable[Widget]:
        """Two tables beside each other (above, when narrow), then the findings."""
        yield Horizontal(
            Vertical(self._rule("targets"), self._targets, id="targets-pane"),
            Vertical(
                self._rule("vms"),
                self._table,
                PaintedLine(lambda w, _: self._chosen(w), id="chosen"),
                id="vms-pane",
            ),
            id="plan-tables",
        )
        yield self._rule("findings")
        yield Scrolled(self._finding_lines, id="findings")
        yield PaintedLine(lambda w, _: self._policy(w), id="policy")
        yield Painted(lambda w, _: self._virsh(w), id="virsh")

    def _rule(self, part: str) -> PaintedLine:
        return PaintedLine(
            lambda w, _: [headline.rule(self._rule_words(part), w)], id=f"{part}-rule"
        )

    def _words(self, part: str) -> str:
        plan = self._plan
        target = plan.target if plan else "…"
        return {
            "targets": f"MOVE {', '.join(vm.name for vm in self._vms)} FROM {self._vms[0].host}",
            "vms": f"VMS ⇢ {target}",
            "findings": f"FORECAST AND FINDINGS {plan.vm if plan else ''} ⇢ {target}",
        }[part]

    def _rule_words(self, part: str) -> tuple[Span | str, ...]:
        old = self._asking and part == "targets" and bool(self._plans)
        mark: Span = ("  ◌ old: a new plan is being made", Ink.WARN)
        return (self._words(part), *((mark,) if old else ()))

    def on_mount(self) -> None:
        """Ask at once."""
        self._targets.focus()
        self.engine(self._learn_policies(), "policies")
        self.do_again()

    # -- what is shown --------------------------------------------------------------------

    @property
    def _plan(self) -> Plan | None:
        """The chosen VM to the chosen target."""
        return self._table.current

    def draw(self) -> None:
        """All of it from the plans at hand."""
        names = dict.fromkeys(plan.target for plan in self._plans)
        rows = [TargetRow(n, tuple(p for p in self._plans if p.target == n)) for n in names]
        rows.sort(key=lambda r: (-len(r.startable), -min((p.fit or 0) for p in r.plans)))
        self._targets.apply(rows)
        if self._first in names:
            self._targets.cursor_key, self._first = self._first, ""
        self._draw_target()

    def _draw_target(self) -> None:
        row = self._targets.current
        plans = row.plans if row else ()
        self._table.apply(plans)
        wide = self.size.width >= 110
        most = max(self.size.height // (3 if wide else 5), 3)
        heights = [min(max(count, 1), most) + 1 for count in (len(self._targets.keys), len(plans))]
        self._targets.styles.height, self._table.styles.height = heights
        self._draw_findings()

    def _draw_findings(self) -> None:
        width = self.size.width
        self.query_one("#virsh").styles.height = min(max(len(self._virsh(width)), 1), 4)
        self.query_one("#policy").styles.height = len(self._policy(width))
        for box in self.query(Painted):
            if box.id in ("chosen", "findings", "policy", "virsh") or "rule" in (box.id or ""):
                box.redraw()

    def _finding_lines(self, width: int, _height: int) -> list[Line]:
        if self._plan is None:
            return [line((f" {self._why_busy() or 'no plan yet'}", Ink.DIM))]
        return plan_rows.finding_lines(self._plan, width)

    def _chosen(self, width: int) -> list[Line]:
        if self._plan is None:
            return []
        vm = next(v for v in self._vms if v.uuid == self._plan.uuid)
        source = self.store.fleet.host(self._plan.source)
        link = source.link_speed_bytes_s if source else None
        return plan_rows.chosen_lines(self._plan, vm.writes_bytes_s, link, width)

    def _policy(self, width: int) -> list[Line]:
        plan = self._plan
        if plan is None:
            return [Line()]
        brief = self.size.height < LOW
        return plan_rows.policy_lines(plan, self._options, self._policy_name, width, brief)

    def _virsh(self, width: int) -> list[Line]:
        return plan_rows.virsh_lines(self._plan, width) if self._plan else [Line()]

    @on(LiveTable.Moved, "#targets")
    def _target_moved(self) -> None:
        self._draw_target()

    @on(LiveTable.Moved, "#plan-vms")
    def _vm_moved(self) -> None:
        self._draw_findings()

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        limit = any(action.name == name for action in self.LIMITS)
        if name not in ("start", "again") and not limit:
            return ""
        reason = self.needs_engine() or (STARTING if self._starting else "")
        if not reason and name == "start":
            reason = self._why_busy() or self._why_no_start()
        return reason or (self._why_no_limit(name) if limit else "")

    @property
    def _asking(self) -> bool:
        """A newer plan than the one at hand is being made."""
        return self._answered < self._asked

    def _why_busy(self) -> str:
        return "Both hosts are being asked …" if self._asking else ""

    def _why_no_start(self) -> str:
        row = self._targets.current
        if row is None:
            return "There is no plan to start yet."
        if row.startable:
            return ""
        return " ".join(self._why_blocked(plan) for plan in row.plans)

    def _why_blocked(self, plan: Plan) -> str:
        finding = blocks(plan)[0]
        remedy = f" Fix: {finding.remedy}" if finding.remedy else ""
        return f"{plan.vm} cannot go to {plan.target}: {finding.sentence}.{remedy}".replace(
            "..", "."
        )

    def do_again(self) -> None:
        """Plan to every other host, by today's facts; what is shown meanwhile is old."""
        self._asked += 1
        self.engine(self._ask(self._asked, self._options), "plan")
        self.draw_all()

    async def _ask(self, number: int, options: MoveOptions) -> None:
        try:
            reply = await self.ferry.bridge.call(MakePlan(self._names(), None, options))
            if isinstance(reply, PlanReply) and number > self._answered:
                self._plans, self._made_for = reply.plans, options
                if not reply.plans:
                    self._targets.empty = "there is no other host in the fleet"
        except FerryError:
            if number == self._asked:
                self._options = self._made_for
            raise
        finally:
            self._answered = max(self._answered, number)
            self.draw_all()

    def _names(self, uuids: frozenset[str] | None = None) -> tuple[str, ...]:
        """Names, or the UUID where a name is not one VM's alone."""
        chosen = [vm for vm in self._vms if uuids is None or vm.uuid in uuids]
        fleet = self.store.fleet
        return tuple(v.name if len(fleet.vms_named(v.name)) <= 1 else v.uuid for v in chosen)

    def do_start(self) -> None:
        """Start what fits; what does not is named first."""
        row = self._targets.current
        if row is None:
            return
        readied = plan_rows.prepared_first(row.startable) if self._made_for.prepare else []
        if not (row.blocked or readied):
            self._start(row)
            return
        lines = [line(f" {self._why_blocked(plan)}") for plan in row.blocked]
        lines += [line((" first: ", Ink.WARN), sentence) for sentence in readied]
        names = ", ".join(plan.vm for plan in row.startable)
        asked = f" Move {names} alone? " if row.blocked else f" Do this, then move {names}? "
        lines.append(line((asked, Ink.BOLD), ("y", Ink.KEY), " start  ", ("n", Ink.KEY), " back"))
        self.ask(lines, lambda: self._start(row))

    def _start(self, row: TargetRow) -> None:
        self._starting = True
        uuids = frozenset(plan.uuid for plan in row.startable)
        request = Start(self._names(uuids), row.target, self._made_for)
        self.engine(self._send(request), "start")

    async def _send(self, request: Start) -> None:
        try:
            reply = await self.ferry.bridge.call(request)
        finally:
            self._starting = False
        if isinstance(reply, Started):
            self.ferry.started(reply.migrations)
        elif isinstance(reply, Refused):
            fresh = {(plan.uuid, plan.target): plan for plan in reply.plans}
            self._plans = tuple(fresh.get((p.uuid, p.target), p) for p in self._plans)
            self.draw_all()
            self.say("Nothing was started: the hosts changed since the plan was made.", ink=Ink.BAD)

    def do_tables(self) -> None:
        """Targets, VMs, findings, and around."""
        self.focus_next()

    def do_back(self) -> None:
        """To the fleet."""
        self.dismiss()

    @on(LiveTable.Opened)
    def _opened(self) -> None:
        self.action_act("start")
