"""Which roll is shown, and what is done to it: the open one, until another is asked for."""

from backend.model import Roll, RollControl, RollState, RollStep
from backend.service.protocol import SteerRoll
from tui.render import roll_controls
from tui.render.roll_view import RollView
from tui.screens.base import FerryScreen

CONTROLS = {"skip": RollControl.SKIP, "abort": RollControl.ABORT}
STEERING = ("pause", *CONTROLS)
Place = tuple[str, RollState | None, str, RollStep | None]
"""Id, state, host and step of a roll, as far as they matter to a question."""


class RollSteering(FerryScreen):
    """The part of the roll screen that talks to the engine."""

    def __init__(self) -> None:
        super().__init__()
        self._chosen = ""
        """Id of an older one; empty: the one that is open, or the newest."""
        self._noted = -1
        """How many notes of it were there when its log was last brought to the end."""

    @property
    def _rolls(self) -> list[Roll]:
        return list(self.store.rolls.values())

    @property
    def _roll(self) -> Roll | None:
        return self.store.rolls.get(self._chosen) or self.store.newest_roll()

    @property
    def _view(self) -> RollView | None:
        roll = self._roll
        return self.store.roll_view(roll, self.ferry.clock()) if roll else None

    # -- older and newer ones --------------------------------------------------------------

    def _beside(self, by: int) -> Roll | None:
        rolls, roll = self._rolls, self._roll
        at = rolls.index(roll) + by if roll else -1
        return rolls[at] if 0 <= at < len(rolls) else None

    def do_older(self) -> None:
        """The one before."""
        self._show(self._beside(-1))

    def do_newer(self) -> None:
        """The one after; the newest is followed again."""
        self._show(self._beside(1))

    def _show(self, roll: Roll | None) -> None:
        newest = self.store.newest_roll()
        self._chosen = roll.id if roll is not None and roll != newest else ""
        self._noted = -1
        self.draw_all()

    # -- controls --------------------------------------------------------------------------

    def do_pause(self) -> None:
        """Pause, go on, or try again."""
        view = self._view
        assert view is not None
        self._steer(roll_controls.wanted(view))

    def do_skip(self) -> None:
        """Without the hook, or without waiting."""
        self._steer(RollControl.SKIP)

    def do_abort(self) -> None:
        """End it."""
        self._steer(RollControl.ABORT)

    def _steer(self, control: RollControl) -> None:
        """Ask first where that cannot be undone; a yes counts only for what was asked about."""
        view = self._view
        assert view is not None
        asked = roll_controls.question(view, control)
        if not asked:
            self._send(control)
            return
        place = _place(view.roll, control)
        self.ask(asked, lambda: self._answered(place, control))

    def _answered(self, place: Place, control: RollControl) -> None:
        roll = self._roll
        if roll is not None and _place(roll, control) == place:
            self._send(control)
        else:
            self.say("The roll has gone on meanwhile: nothing was done. Look again.")

    def _send(self, control: RollControl) -> None:
        self.engine(self._told_engine(SteerRoll(control)), str(control))

    async def _told_engine(self, request: SteerRoll) -> None:
        await self.ferry.bridge.call(request)


def _place(roll: Roll, control: RollControl) -> Place:
    """The end of a roll may be wanted at whichever step it is."""
    host = roll.current
    if control is RollControl.ABORT or host is None:
        return roll.id, None, "", None
    return roll.id, roll.state, host.host, host.step
