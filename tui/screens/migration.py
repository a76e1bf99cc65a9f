"""One migration: its chart while it runs, its report after; leaving it cancels nothing."""

from dataclasses import replace
from typing import ClassVar

from backend.model import Control, Migration, Outcome, Vm, Word
from backend.service.protocol import Abort, Operate, Request, SetBandwidth, SetPauseLimit
from tui.actions import Action
from tui.export import files
from tui.render import controls, units
from tui.render import migration_lines as words
from tui.render.ink import Ink, Line
from tui.render.migration_lines import MigrationView
from tui.screens.exporting import EXPORT
from tui.screens.migration_panes import MigrationPanes
from tui.widgets.prompt import Prompt

CONTROLS: dict[str, tuple[Control, ...]] = {
    "bandwidth": (Control.BANDWIDTH,),
    "pause": (Control.PAUSE_LIMIT,),
    "post_copy": (Control.POST_COPY,),
    "suspend": (Control.SUSPEND,),
    "hold": (Control.HOLD, Control.SWITCH),
    "recover": (Control.RECOVER,),
    "abort": (Control.ABORT,),
}
"""Which of the engine's controls an action needs."""
_AFTER = ("replay", "export", "list")
"""In the footer once it has ended."""


class MigrationScreen(MigrationPanes):
    """The panes, and every control."""

    NAME = "migration"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("bandwidth", "b", "bandwidth", "Limit how fast memory is sent; 0 lifts it."),
        Action("pause", "d", "pause limit", "The longest pause the VM may take at the end."),
        Action("post_copy", "p", "post-copy", "Run at the target now, fetch the rest; asks first."),
        Action("suspend", "z", "suspend VM", "Stop the VM until it has moved; asks you first."),
        Action("hold", "w", "hold", "Wait before the switchover; pressed again: switch over now."),
        Action("recover", "r", "recover", "Go on with a post-copy whose stream broke."),
        Action("abort", "a", "abort", "Ask the VM to stay on its source; asks you first."),
        Action("again", "m", "replan", "Plan it anew; a running one is aborted after a question."),
        Action("replay", "space", "replay", "Play one that has ended, as it was.", footer=False),
        replace(EXPORT, footer=False),
        Action("next", "n,tab", "next", "The next running migration."),
        Action("previous", "N,shift+tab", "previous", "The one before.", footer=False),
        Action("list", "M", "migrations", "List running and ended ones.", footer=False),
        Action("back", "escape", "leave it running", "Back; the migration goes on."),
    )

    def __init__(self, id: str) -> None:
        super().__init__()
        self.migration_id = id
        self._again = ""
        """Id of the migration that is to be planned anew once its abort has ended it."""
        self._awaits_second = ""
        """Id of the migration that was seen to wait for its second attempt."""

    def look(self) -> MigrationView | None:
        """As the engine has it now."""
        return self.store.view(self.migration_id, self.ferry.clock())

    def draw(self) -> None:
        """And go on with what waited for its end."""
        super().draw()
        if self._view is not None:
            self._plan_after_abort()
            self._go_on_with_second()

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        if name in CONTROLS:
            track = self.store.tracks.get(self.migration_id)
            if track is None:
                return controls.ENDED
            return self.needs_engine() or controls.why_not(track.migration, *CONTROLS[name])
        if name == "again":
            return self._why_not_again()
        if name in ("replay", "export") and not self._ended:
            return f"It has not ended yet: then {name} works."
        if name in ("next", "previous") and not self._others():
            return "No other migration is running."
        return ""

    def in_footer(self, action: Action) -> bool:
        """What steers, while there is something to steer; then what can be done with the end."""
        if not self._ended:
            return action.footer
        return action.name not in CONTROLS and (action.footer or action.name in _AFTER)

    def label(self, action: Action) -> str:
        """As things stand: there is nothing to leave running after the end."""
        track = self.store.tracks.get(self.migration_id)
        if track is not None and action.name == "back" and not track.migration.running:
            return "back"
        if track is not None and action.name == "hold" and track.migration.hold:
            return "switch over"
        return action.label

    @property
    def _migration(self) -> Migration:
        return self.store.tracks[self.migration_id].migration

    def _others(self) -> list[str]:
        return [m.id for m in self.store.running if m.id != self.migration_id]

    def do_next(self) -> None:
        """The next running migration."""
        self._step(1)

    def do_previous(self) -> None:
        """The previous one."""
        self._step(-1)

    def _step(self, by: int) -> None:
        ids = [m.id for m in self.store.running]
        here = ids.index(self.migration_id) if self.migration_id in ids else -1
        self.migration_id = ids[(here + by) % len(ids)]
        self._seen = (-1, False)
        self.draw_all()

    def do_replay(self) -> None:
        """From the confirm on."""
        self.ferry.open_replay(self.migration_id)

    def do_export(self) -> None:
        """Ask for a file."""
        m = self._migration
        self.ask_export(files.default_name(m.vm, m.started), [m.id])

    def do_list(self) -> None:
        """All of them."""
        self.ferry.open_migrations()

    def do_back(self) -> None:
        """Leave it running."""
        self.dismiss()

    def _asked(self) -> MigrationView:
        """As it is while the question is asked."""
        view = self.store.view(self.migration_id, self.ferry.clock())
        assert view is not None
        return view

    def do_abort(self) -> None:
        """Ask first; the default is no."""
        view = self._asked()
        near = words.word_of(view.migration) is Word.SWITCHING_OVER
        abort = Abort(self.migration_id)
        self.ask(controls.abort_question(view, near), lambda: self._send(abort, "abort asked"))

    def _why_not_again(self) -> str:
        track = self.store.tracks.get(self.migration_id)
        if track is None:
            return controls.ENDED
        m = track.migration
        if m.running:
            return self.needs_engine() or controls.why_not(m, Control.ABORT)
        if self._vm_at_source(m) is None:
            return f"{m.vm} is not on {m.source} any more: plan its next move on the fleet screen."
        return self.needs_engine()

    def _vm_at_source(self, m: Migration) -> Vm | None:
        here = self.store.fleet.vms_named(m.uuid)
        return next((vm for vm in here if vm.host == m.source), None)

    def do_again(self) -> None:
        """What can only be set at the start is chosen anew: abort first, where it still runs."""
        m = self._migration
        if not m.running:
            self._plan_anew(m)
            return
        id = self.migration_id

        def agreed() -> None:
            self._again = id
            self._send(Abort(id), "abort asked, a new plan follows")

        self.ask(controls.again_question(self._asked()), agreed)

    def _go_on_with_second(self) -> None:
        """Who watched the first attempt fail goes on watching the second."""
        m = self._migration
        if m.verdict is not None and m.verdict.again:
            self._awaits_second = m.id
        second = next((one for one in self.store.running if one.after == m.id), None)
        if second is not None and self._awaits_second == m.id:
            self.migration_id, self._awaits_second = second.id, ""
            self._seen = (-1, False)
            self.call_after_refresh(self.draw_all)

    def _plan_after_abort(self) -> None:
        if not self._ended or not self._again or self._again != self.migration_id:
            return
        self._again, m = "", self._migration
        stayed = m.verdict is not None and m.verdict.outcome is Outcome.STAYED
        self._plan_anew(m) if stayed else self.say(f"{m.vm} did not stay: it is not planned anew.")

    def _plan_anew(self, m: Migration) -> None:
        vm = self._vm_at_source(m)
        if vm is not None:
            self.ferry.open_plan((vm,))

    def do_post_copy(self) -> None:
        """Ask first: there is no way back."""
        self._confirmed(controls.post_copy_question(self._asked()), Control.POST_COPY)

    def do_suspend(self) -> None:
        """Ask first, with the pause it would take."""
        self._confirmed(controls.suspend_question(self._asked()), Control.SUSPEND)

    def do_hold(self) -> None:
        """Hold; or, held, switch over after a question."""
        if Control.SWITCH in self._migration.controls:
            self._confirmed(controls.switch_question(self._asked()), Control.SWITCH)
        else:
            self._operate(self.migration_id, Control.HOLD)

    def do_recover(self) -> None:
        """Go on with a broken post-copy."""
        self._operate(self.migration_id, Control.RECOVER)

    def _confirmed(self, lines: list[Line], control: Control) -> None:
        id = self.migration_id
        self.ask(lines, lambda: self._operate(id, control))

    def _operate(self, id: str, control: Control) -> None:
        self._send(Operate(id, control), control.value)

    def do_pause(self) -> None:
        """A new pause limit."""
        m = self._migration
        now = str(m.pause_limit_ms or m.policy.pause_ms)
        self.query_one(Prompt).ask("pause ≤ (ms)", now, self._set_pause)

    def _set_pause(self, text: str) -> str:
        try:
            pause_ms = units.parse_pause(text)
        except ValueError as error:
            return str(error)
        self._send(SetPauseLimit(self.migration_id, pause_ms), f"pause limit {pause_ms} ms")
        return ""

    def do_bandwidth(self) -> None:
        """A new bandwidth limit."""
        m = self._migration
        now = units.number(m.bandwidth_bytes_s / 1e6) if m.bandwidth_bytes_s else ""
        self.query_one(Prompt).ask("bandwidth (MB/s, empty: unlimited)", now, self._set_bandwidth)

    def _set_bandwidth(self, text: str) -> str:
        try:
            rate = units.parse_rate(text)
        except ValueError as error:
            return str(error)
        said = units.rate(rate) if rate else "unlimited"
        self._send(SetBandwidth(self.migration_id, rate), f"bandwidth {said}")
        return ""

    def _send(self, request: Request, said: str) -> None:
        self.engine(self._sent(request, said), said)

    async def _sent(self, request: Request, said: str) -> None:
        await self.ferry.bridge.call(request)
        self.say(f"Asked the engine: {said}.", ink=Ink.DIM)
