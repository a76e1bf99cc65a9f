"""A run of many moves while it goes on: who moves when, on which link; and after its end."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.widget import Widget

from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationMove,
    EvacuationState,
    MoveState,
)
from backend.service.protocol import SteerEvacuation
from tui.actions import Action
from tui.render import evacuation_rows, headline
from tui.render import evacuation_words as words
from tui.render.evacuation_rows import MoveRow
from tui.render.ink import Ink, Line, Span, line
from tui.screens.base import FerryScreen
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import Painted, PaintedLine, Scrolled

_STATES: dict[EvacuationState, Span] = {
    EvacuationState.RUNNING: ("  ⇢ running", Ink.MOVE),
    EvacuationState.PAUSED: ("  ○ PAUSED: nothing new is started", Ink.WARN),
    EvacuationState.INTERRUPTED: ("  ! INTERRUPTED: its engine ended; p goes on with it", Ink.BAD),
    EvacuationState.ENDED: ("  ended", Ink.DIM),
}
_WAITING = ("skip", "sooner", "later")
_STEERING = ("pause", "abort", *_WAITING)


class EvacuationScreen(FerryScreen):
    """The timeline, and what was decided."""

    NAME = "evacuation"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("open", "enter", "open", "Open the migration of the VM under the cursor."),
        Action("pause", "p", "pause", "Start nothing new; pressed again: go on."),
        Action("skip", "x", "skip", "The VM does not go; one that moves is asked to stay."),
        Action("sooner", "K", "sooner", "The VM goes before those that wait."),
        Action("later", "J", "later", "The VM goes after those that wait."),
        Action("abort", "a", "abort all", "End the run: what moves is asked to stay; asks first."),
        Action("tables", "tab", "log", "To the log and back.", footer=False),
        Action("back", "escape", "leave it running", "Back; the run goes on."),
    )

    def __init__(self, id: str) -> None:
        super().__init__()
        self.run_id = id
        self._noted = -1
        self._table: LiveTable[MoveRow] = LiveTable(
            evacuation_rows.TIMELINE,
            lambda row: row.move.uuid,
            note=MoveRow.note,
            dim=lambda row: not row.goes,
            empty="no VM is in this run",
            id="moves",
        )

    def body(self) -> Iterable[Widget]:
        """The whole, the timeline, the log."""
        yield PaintedLine(lambda w, _: [headline.rule(self._title(), w)], id="run-rule")
        yield Painted(lambda w, _: self._whole(w), id="whole")
        yield self._table
        yield PaintedLine(lambda w, _: [headline.rule((self._chosen_words(),), w)], id="vm-rule")
        yield Scrolled(lambda w, _: self._log(w), id="details")

    def on_mount(self) -> None:
        """The table has the keyboard."""
        self._table.focus()

    @property
    def _run(self) -> Evacuation | None:
        return self.store.evacuations.get(self.run_id)

    # -- drawing --------------------------------------------------------------------------

    def draw(self) -> None:
        """All of it."""
        run, now = self._run, self.ferry.clock()
        rows = [self._row(move, run, now) for move in run.moves] if run else []
        self._table.apply(rows)
        most = max(self.size.height * 3 // 5 - 3, 3)
        self._table.styles.height = min(max(len(rows), 1), most) + 1
        self.query_one("#whole").styles.height = max(len(self._whole(self.size.width)), 1)
        for box in self.query(Painted):
            box.redraw()
        self._follow_log()

    def _row(self, move: EvacuationMove, run: Evacuation, now: float) -> MoveRow:
        track = self.store.tracks.get(move.id or "")
        rate = self._rate(move)
        return MoveRow(move, run, now, rate, words.is_readied(track.migration) if track else False)

    def _rate(self, move: EvacuationMove) -> float | None:
        track = self.store.tracks.get(move.id or "")
        return track.samples[-1].rate_bytes_s if track and track.samples else None

    def _follow_log(self) -> None:
        count = len(self._run.notes) if self._run else 0
        if count != self._noted:
            self._noted = count
            log = self.query_one("#details", Painted)
            self.call_after_refresh(log.scroll_end, animate=False)

    def _title(self) -> tuple[Span | str, ...]:
        run = self._run
        if run is None:
            return ("–",)
        roll = self.store.roll_of(run.id)
        of_roll = f" ─ of a roll of {len(roll.hosts)} hosts" if roll else ""
        return (words.title(run), _STATES[run.state], (of_roll, Ink.DIM))

    def _whole(self, width: int) -> list[Line]:
        return evacuation_rows.whole_line(self._run, self.ferry.clock(), width) if self._run else []

    @property
    def _move(self) -> EvacuationMove | None:
        row = self._table.current
        return row.move if row else None

    def _chosen_words(self) -> str:
        move = self._move
        return f"{move.vm}: {move.reason or words.way_word(move)}" if move else "LOG"

    def _log(self, width: int) -> list[Line]:
        return evacuation_rows.note_lines(self._run.notes, width) if self._run else []

    @on(LiveTable.Moved, "#moves")
    def _moved(self) -> None:
        self.query_one("#vm-rule", PaintedLine).redraw()
        self.draw_all()

    # -- actions --------------------------------------------------------------------------

    def in_footer(self, action: Action) -> bool:
        """What steers, while there is something to steer."""
        ended = self._run is not None and not self._run.state.open
        return action.footer and not (ended and action.name in _STEERING)

    def label(self, action: Action) -> str:
        """As things stand."""
        run = self._run
        if run is None:
            return action.label
        running = run.state is EvacuationState.RUNNING
        if action.name == "pause" and run.state.open and not running:
            return "go on"
        if action.name == "back" and not run.state.open:
            return "back"
        return action.label

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        run, move = self._run, self._move
        if name == "open":
            no_move = move is None or move.id not in self.store.tracks
            return "There is no migration of that VM (yet)." if no_move else ""
        if name in _STEERING:
            if run is None or not run.state.open:
                return "The run has ended."
            return self.needs_engine() or self._why_not_this(name, move)
        return ""

    def _why_not_this(self, name: str, move: EvacuationMove | None) -> str:
        if name not in _WAITING:
            return ""
        if move is None:
            return "There is no VM under the cursor."
        able = (MoveState.WAITING, MoveState.MOVING) if name == "skip" else (MoveState.WAITING,)
        return "" if move.state in able else f"{move.vm} does not wait: {move.state}."

    def do_open(self) -> None:
        """What enter does."""
        self._table.action_open()

    def do_pause(self) -> None:
        """Pause, or go on."""
        run = self._run
        assert run is not None
        running = run.state is EvacuationState.RUNNING
        self._send(EvacuationControl.PAUSE if running else EvacuationControl.RESUME)

    def do_sooner(self) -> None:
        """To the front."""
        self._send(EvacuationControl.SOONER, self._move)

    def do_later(self) -> None:
        """To the end."""
        self._send(EvacuationControl.LATER, self._move)

    def do_skip(self) -> None:
        """Ask first where it moves already."""
        move = self._move
        assert move is not None
        if move.state is MoveState.WAITING:
            self._send(EvacuationControl.SKIP, move)
            return
        asked = f" Ask {move.vm} to stay on {move.source}? It moves already. "
        self.ask([_yes_no(asked, "abort it")], lambda: self._send(EvacuationControl.SKIP, move))

    def do_abort(self) -> None:
        """Ask first; the default is no."""
        run = self._run
        assert run is not None
        moving = [move.vm for move in run.in_state(MoveState.MOVING)]
        waiting = len(run.in_state(MoveState.WAITING))
        lines = [line(f" {waiting} that wait are not started.")] if waiting else []
        if moving:
            lines.append(line(f" Asked to stay where they are: {', '.join(moving)}."))
        lines.append(_yes_no(" End this run? ", "end it"))
        self.ask(lines, lambda: self._send(EvacuationControl.ABORT))

    def _send(self, control: EvacuationControl, move: EvacuationMove | None = None) -> None:
        request = SteerEvacuation(self.run_id, control, move.uuid if move else None)
        self.engine(self._told_engine(request), str(control))

    async def _told_engine(self, request: SteerEvacuation) -> None:
        await self.ferry.bridge.call(request)

    def do_tables(self) -> None:
        """The timeline, the log."""
        self.focus_next()

    def do_back(self) -> None:
        """Leave it running."""
        self.dismiss()

    @on(LiveTable.Opened, "#moves")
    def _opened(self) -> None:
        if reason := self.why_not("open"):
            self.say(reason)
        elif self._move is not None and self._move.id is not None:
            self.ferry.open_migration(self._move.id)


def _yes_no(asked: str, yes: str) -> Line:
    return line((asked, Ink.BOLD), ("y", Ink.KEY), f" {yes}  ", ("n", Ink.KEY), " back")
