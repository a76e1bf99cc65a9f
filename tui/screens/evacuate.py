"""What emptying a host, or bringing its VMs home, would be; changed here, started by one key."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.widget import Widget

from backend.model import (
    Evacuation,
    EvacuationChoice,
    EvacuationKind,
    EvacuationMove,
    EvacuationWish,
    Mode,
    MoveState,
    Policy,
    Way,
)
from backend.service.protocol import (
    EvacuationReply,
    ListPolicies,
    PlanEvacuation,
    PoliciesReply,
    StartEvacuation,
)
from tui.actions import Action
from tui.render import evacuation_rows, headline
from tui.render import evacuation_words as words
from tui.render.evacuation_rows import MoveRow
from tui.render.ink import Ink, Line, Span, line
from tui.render.units import counted
from tui.screens.base import FerryScreen
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import Painted, PaintedLine, Scrolled


class EvacuateScreen(FerryScreen):
    """Every VM of the host with where it would go, how, when; one key starts all of it."""

    NAME = "evacuate"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("start", "enter", "start", "Begin the run exactly as it is shown; asks once."),
        Action("target", "t", "target", "The next host that takes the VM under the cursor."),
        Action("mode", "o", "live/restart", "Move it as it runs, or shut down, move and start it."),
        Action("leave", "x", "leave out", "The VM stays; pressed again: it goes."),
        Action("best", "b", "best again", "Take back what was chosen for the VM.", footer=False),
        Action("policy", "right,l", "policy", "The next policy (or l): what a move may do."),
        Action("policy_back", "left,h", "policy before", "The one before (or h).", footer=False),
        Action("again", "r", "plan again", "Ask every host once more."),
        Action("tables", "tab", "details", "To the details and back.", footer=False),
        Action("back", "escape", "back", "Back to the fleet; nothing was touched."),
    )

    def __init__(self, wish: EvacuationWish) -> None:
        super().__init__()
        self._wish = wish
        self._planned: Evacuation | None = None
        self._policies: tuple[Policy, ...] = ()
        self._asked = self._answered = 0
        self._starting = False
        self._table: LiveTable[MoveRow] = LiveTable(
            evacuation_rows.REVIEW,
            lambda row: row.move.uuid,
            dim=lambda row: not row.goes,
            empty="asking every host about every VM …",
            id="moves",
        )

    def body(self) -> Iterable[Widget]:
        """The whole, the VMs, then one of them."""
        yield PaintedLine(lambda w, _: [headline.rule(self._title(), w)], id="run-rule")
        yield Painted(lambda w, _: self._whole(w), id="whole")
        yield self._table
        yield PaintedLine(lambda w, _: [headline.rule((self._chosen_name,), w)], id="vm-rule")
        yield Scrolled(lambda w, _: self._details(w), id="details")
        yield PaintedLine(lambda _w, _h: [self._policy_line()], id="run-policy")

    def on_mount(self) -> None:
        """Ask at once."""
        self._table.focus()
        self.engine(self._learn_policies(), "policies")
        self.do_again()

    # -- what is shown --------------------------------------------------------------------

    def draw(self) -> None:
        """All of it from the plan at hand."""
        now, run = self.ferry.clock(), self._planned
        self._table.apply([MoveRow(move, run, now) for move in run.moves] if run else [])
        count = len(run.moves) if run else 1
        self._table.styles.height = min(max(count, 1), max(self.size.height // 2 - 3, 3)) + 1
        self.query_one("#whole").styles.height = max(len(self._whole(self.size.width)), 1)
        for box in self.query(Painted):
            box.redraw()

    def _title(self) -> tuple[Span | str, ...]:
        old = self._asking and self._planned is not None
        mark: Span = ("  ◌ old: it is being planned anew", Ink.WARN)
        run = self._planned or Evacuation("", self._wish)
        return (words.title(run), *((mark,) if old else ()))

    def _whole(self, width: int) -> list[Line]:
        if self._planned is None:
            return [line((" every VM is planned to every host; nothing is touched", Ink.DIM))]
        return evacuation_rows.whole_line(self._planned, self.ferry.clock(), width)

    @property
    def _move(self) -> EvacuationMove | None:
        row = self._table.current
        return row.move if row else None

    @property
    def _chosen_name(self) -> str:
        return self._move.vm if self._move else "–"

    def _details(self, width: int) -> list[Line]:
        return evacuation_rows.detail_lines(self._move, width) if self._move else []

    def _policy_line(self) -> Line:
        name = self._wish.options.policy or "each VM's own"
        return line((" POLICY ", Ink.HEAD), ("◂ ", Ink.KEY), (name, Ink.BOLD), (" ▸", Ink.KEY))

    @on(LiveTable.Moved, "#moves")
    def _moved(self) -> None:
        self.query_one("#vm-rule", PaintedLine).redraw()
        self.query_one("#details", Painted).redraw()

    # -- asking ---------------------------------------------------------------------------

    @property
    def _asking(self) -> bool:
        return self._answered < self._asked

    async def _learn_policies(self) -> None:
        reply = await self.ferry.bridge.call(ListPolicies())
        if isinstance(reply, PoliciesReply):
            self._policies = reply.policies

    def do_again(self) -> None:
        """By today's facts; what is shown meanwhile is old."""
        self._plan_soon(fresh=True)

    def _plan_soon(self, *, fresh: bool) -> None:
        self._asked += 1
        self.engine(self._ask(self._asked, PlanEvacuation(self._wish, fresh)), "plan the run")
        self.draw_all()

    async def _ask(self, number: int, request: PlanEvacuation) -> None:
        try:
            reply = await self.ferry.bridge.call(request)
            if isinstance(reply, EvacuationReply) and number > self._answered:
                self._planned = reply.evacuation
                self._table.empty = "there is nothing to move"
        finally:
            self._answered = max(self._answered, number)
            self.draw_all()

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        if name in ("back", "tables", "help", "palette", "quit"):
            return ""
        reason = self.needs_engine() or ("The start is under way …" if self._starting else "")
        if reason or name == "again":
            return reason
        if name in ("policy", "policy_back"):
            return "" if len(self._policies) > 1 else "The engine has not told its policies."
        if self._planned is None:
            return "Every host is being asked …"
        return self._why_no_start() if name == "start" else self._why_no_choice(name)

    def _why_no_start(self) -> str:
        assert self._planned is not None
        if self._asking:
            return "It is being planned anew …"
        if not self._planned.in_state(MoveState.WAITING):
            return "No VM can go as things are: the rows say why."
        return ""

    def _why_no_choice(self, name: str) -> str:
        move = self._move
        if move is None:
            return "There is no VM under the cursor."
        if name == "target" and len(self._targets(move)) < 2:
            return f"{move.vm} has no other host to go to: its rows below say why."
        if name == "mode" and move.way is Way.COLD:
            return f"{move.vm} is shut off: it moves cold."
        return ""

    def _targets(self, move: EvacuationMove) -> list[str]:
        return [one.target for one in move.candidates if one.mode == move.mode and not one.refused]

    def _choose(self, move: EvacuationMove, **fields: Any) -> None:
        """Plan with another choice for one VM; its hosts need not be asked again."""
        choices = {one.uuid: one for one in self._wish.choices}
        known = choices.get(move.uuid, EvacuationChoice(move.uuid))
        choices[move.uuid] = replace(known, **fields)
        self._wish = replace(self._wish, choices=tuple(choices.values()))
        self._plan_soon(fresh=False)

    def _choice(self, move: EvacuationMove) -> EvacuationChoice:
        found = (one for one in self._wish.choices if one.uuid == move.uuid)
        return next(found, EvacuationChoice(move.uuid))

    def do_target(self) -> None:
        """The next one."""
        move = self._move
        assert move is not None
        targets = self._targets(move)
        here = targets.index(move.target) if move.target in targets else -1
        self._choose(move, target=targets[(here + 1) % len(targets)], leave=False)

    def do_mode(self) -> None:
        """A restart, or as it is."""
        move = self._move
        assert move is not None
        restarts = self._choice(move).mode is Mode.RESTART
        self._choose(move, mode=None if restarts else Mode.RESTART, target=None, leave=False)

    def do_leave(self) -> None:
        """It stays, or goes after all."""
        move = self._move
        assert move is not None
        self._choose(move, leave=not self._choice(move).leave)

    def do_best(self) -> None:
        """As it is found best."""
        move = self._move
        assert move is not None
        self._choose(move, target=None, mode=None, leave=False)

    def do_policy(self) -> None:
        """The next one."""
        self._turn(1)

    def do_policy_back(self) -> None:
        """The one before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        names = [None, *(policy.name for policy in self._policies)]
        here = names.index(self._wish.options.policy)
        options = replace(self._wish.options, policy=names[(here + by) % len(names)])
        self._wish = replace(self._wish, options=options)
        self._plan_soon(fresh=False)

    def do_start(self) -> None:
        """One question, which says what it means; then all of it."""
        run = self._planned
        assert run is not None
        goes = len(run.in_state(MoveState.WAITING))
        stays = [move.vm for move in words.staying(run)]
        lines = [line(f" {words.whole(run, self.ferry.clock())}")]
        if stays:
            lines.append(line((f" stay: {', '.join(stays)}", Ink.WARN)))
        if run.kind is EvacuationKind.EVACUATE and run.wish.maintenance:
            lines.append(line(f" {run.host} is in maintenance from then on: it takes no VM."))
        asked = f" Move {counted(goes, 'VM')}? "
        lines.append(line((asked, Ink.BOLD), ("y", Ink.KEY), " start  ", ("n", Ink.KEY), " back"))
        self.ask(lines, self._start, "y")

    def _start(self) -> None:
        assert self._planned is not None
        self._starting = True
        wish = replace(self._wish, choices=self._planned.pinned)
        self.engine(self._send(StartEvacuation(wish)), "start the run")

    async def _send(self, request: StartEvacuation) -> None:
        try:
            reply = await self.ferry.bridge.call(request)
        finally:
            self._starting = False
        if not isinstance(reply, EvacuationReply):
            return
        if reply.evacuation.changed:
            self._planned = reply.evacuation
            self.draw_all()
            said = f"Nothing was started, it is not as it was shown: {reply.evacuation.changed}."
            self.say(said, ink=Ink.BAD)
            return
        self.store.renew_run(reply.evacuation)
        self.dismiss()
        self.ferry.open_evacuation(reply.evacuation.id)

    def do_tables(self) -> None:
        """The VMs, the details."""
        self.focus_next()

    def do_back(self) -> None:
        """To the fleet."""
        self.dismiss()

    @on(LiveTable.Opened)
    def _opened(self) -> None:
        self.action_act("start")
