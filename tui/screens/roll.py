"""Several hosts maintained one after the other: where that is, what stopped it, what to press."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.widget import Widget

from backend.model import EvacuationKind, RollHost
from tui.actions import Action
from tui.render import headline, roll_controls, roll_host, roll_lines, roll_rows
from tui.render.ink import Line, Span
from tui.render.roll_rows import RollRow
from tui.render.roll_view import RollView
from tui.screens.roll_steering import CONTROLS, STEERING, RollSteering
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import Painted, PaintedLine, Scrolled
from tui.widgets.prompt import Question

_OTHER_ROWS = 12
"""What is needed besides the reason why it stands, and the keys."""
_FEW_ROWS = 22
"""In fewer only what changes is told above the table."""


class RollScreen(RollSteering):
    """The open roll, or the newest; those before it on demand."""

    NAME = "rolls"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("open", "enter", "open", "Open the evacuation or return that the host is in."),
        Action("pause", "p", "pause", "Begin nothing new; pressed again: go on, or try again."),
        Action("skip", "x", "skip", "Go on without the hook, or without waiting; asks first."),
        Action("abort", "a", "end", "End the roll; asks first."),
        Action("older", "left", "older", "Show the roll before this one."),
        Action("newer", "right", "newer", "Show the roll after this one."),
        Action("emptied", "e", "emptying", "Open the evacuation of the host.", footer=False),
        Action("tables", "tab", "log", "To the log and back.", footer=False),
        Action("back", "escape", "leave it running", "Back; the roll goes on."),
    )

    def __init__(self) -> None:
        super().__init__()
        self._turn: tuple[str, str] | None = None
        """The roll and the host that the cursor was brought to."""
        self._table: LiveTable[RollRow] = LiveTable(
            roll_rows.COLUMNS,
            lambda row: row.host.host,
            dim=lambda row: not row.begun,
            empty="no hosts have been rolled",
            id="rolled",
        )

    def body(self) -> Iterable[Widget]:
        """What goes on, the hosts, the one under the cursor, the log."""
        yield PaintedLine(lambda w, _: [headline.rule(self._title(), w)], id="roll-rule")
        yield Painted(lambda w, _: self._now(w), id="roll-now")
        yield self._table
        yield PaintedLine(lambda w, _: [headline.rule(self._host_title(), w)], id="host-rule")
        yield Painted(self._host_lines, id="roll-host")
        yield PaintedLine(lambda w, _: [headline.rule(("LOG",), w)], id="log-rule")
        yield Scrolled(lambda w, _: self._log(w), id="roll-log")

    def on_mount(self) -> None:
        """The table has the keyboard."""
        self._table.focus()

    # -- what is shown --------------------------------------------------------------------

    @property
    def _host(self) -> RollHost | None:
        row = self._table.current
        return row.host if row else None

    # -- drawing --------------------------------------------------------------------------

    def draw(self) -> None:
        """All of it."""
        view = self._view
        self.set_class(view is None, "-empty")
        self._table.apply([RollRow(host, view) for host in view.roll.hosts] if view else [])
        self._give_keyboard(view)
        self._follow_turn(view)
        self._fit(view)
        for box in self.query(Painted):
            box.redraw()
        self._follow_log(view)

    def _give_keyboard(self, view: RollView | None) -> None:
        """To the table; without rows to none, so that enter says why it does nothing."""
        if view is None and self._table.has_focus:
            self.set_focus(None)
        elif view is not None and self.focused is None:
            self._table.focus()

    def _follow_turn(self, view: RollView | None) -> None:
        """The cursor goes to the next host with the roll, if it was on the last one."""
        host = view.roll.current if view else None
        if view is None or host is None:
            return
        turn = (view.roll.id, host.host)
        if turn != self._turn:
            before, self._turn = self._turn, turn
            if before is None or before[0] != turn[0] or self._table.cursor_key == before[1]:
                self._table.cursor_key = host.host

    def _fit(self, view: RollView | None) -> None:
        """None is higher than what it holds; where that is too much they share what there is."""
        self.query_one("#roll-now").styles.height = len(self._now(self.size.width))
        self._table.styles.max_height = len(view.roll.hosts) + 1 if view else 2
        about_host = self.query_one("#roll-host")
        about_host.styles.max_height = max(len(self._host_lines(self.size.width)), 1)

    @property
    def _asked_rows(self) -> int:
        question = self.query_one(Question)
        return len(question.lines(self.size.width, 0)) if question.display else 0

    def _follow_log(self, view: RollView | None) -> None:
        count = len(view.roll.notes) if view else 0
        if count != self._noted:
            self._noted = count
            log = self.query_one("#roll-log", Painted)
            self.call_after_refresh(log.scroll_end, animate=False)

    def _title(self) -> tuple[Span | str, ...]:
        roll, rolls = self._roll, self._rolls
        if roll is None:
            return ("ROLLS",)
        place = f" ─ {rolls.index(roll) + 1} of {len(rolls)}" if len(rolls) > 1 else ""
        return roll_lines.title(roll, place)

    def _now(self, width: int) -> list[Line]:
        view = self._view
        if view is None:
            return roll_lines.empty_lines(width)
        brief = self.size.height - self._asked_rows < _FEW_ROWS
        return roll_lines.now_lines(view, roll_controls.ways(view), width, self._most, brief=brief)

    @property
    def _most(self) -> int:
        """Rows for what it stopped by."""
        return max((self.size.height - _OTHER_ROWS - self._asked_rows) // 2, 2)

    def _host_title(self) -> tuple[Span | str, ...]:
        view, host = self._view, self._host
        return roll_host.host_title(view, host) if view and host else ("–",)

    def _host_lines(self, width: int, most: int | None = None) -> list[Line]:
        view, host = self._view, self._host
        return roll_host.host_lines(view, host, width, most) if view and host else []

    def _log(self, width: int) -> list[Line]:
        view = self._view
        return roll_lines.log_lines(view, width, self._most) if view else []

    def _flash_lines(self, width: int) -> list[Line]:
        """Why it stands is told above the table."""
        return self.flash_lines(width, about_rolls=False)

    @on(LiveTable.Moved, "#rolled")
    def _moved(self) -> None:
        self.draw_all()

    # -- actions --------------------------------------------------------------------------

    def in_footer(self, action: Action) -> bool:
        """What steers, while there is something to steer."""
        if action.name in ("older", "newer"):
            return len(self.store.rolls) > 1
        roll = self._roll
        if roll is None and action.name == "open":
            return False
        ended = roll is None or not roll.state.open
        return action.footer and not (ended and action.name in STEERING)

    def label(self, action: Action) -> str:
        """As things stand."""
        view = self._view
        if action.name == "back" and (view is None or not view.roll.state.open):
            return "back"
        if view is None:
            return action.label
        if action.name == "pause":
            return roll_controls.resume_label(view)
        return roll_controls.skip_label(view) if action.name == "skip" else action.label

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        view = self._view
        if name in ("older", "newer"):
            found = self._beside(-1 if name == "older" else 1)
            return "" if found else f"There is no {name} roll."
        if name not in (*STEERING, "open", "emptied"):
            return ""
        if view is None:
            return f"There is no roll: `{roll_lines.COMMAND}` begins one."
        if name in STEERING:
            control = CONTROLS.get(name, roll_controls.wanted(view))
            return roll_controls.why_not(view, control) or self.needs_engine()
        return self._why_no_run(view, EvacuationKind.EVACUATE if name == "emptied" else None)

    def _why_no_run(self, view: RollView, kind: EvacuationKind | None) -> str:
        host = self._host
        if host is None:
            return "There is no host under the cursor."
        if view.run_of(host, kind) is not None:
            return ""
        if host.runs:
            return f"That of {host.host} is not kept any more: h on the fleet lists its moves."
        return f"No VM of {host.host} has been moved by this roll."

    def do_open(self) -> None:
        """What enter does."""
        self._table.action_open()

    def do_emptied(self) -> None:
        """The evacuation, also once there is a return."""
        self._open_run(EvacuationKind.EVACUATE)

    def _open_run(self, kind: EvacuationKind | None = None) -> None:
        view, host = self._view, self._host
        run = view.run_of(host, kind) if view and host else None
        if run is not None:
            self.ferry.open_evacuation(run.id)

    @on(LiveTable.Opened, "#rolled")
    def _opened(self) -> None:
        if reason := self.why_not("open"):
            self.say(reason)
        else:
            self._open_run()

    def do_tables(self) -> None:
        """The hosts, the log."""
        self.focus_next()

    def do_back(self) -> None:
        """Leave it running."""
        self.dismiss()
