"""The fleet screen's advice: shown, asked, and taken to the plan or the review that starts it."""

from typing import ClassVar

from backend.model import Advice, RuleLevel
from tui.actions import Action
from tui.render.advice_lines import advice_lines, question_lines
from tui.screens.sifting import Sifting
from tui.widgets.painted import Painted
from tui.widgets.prompt import Prompt, Question


class Advised(Sifting):
    """Of what the rules advise one is shown; `a` opens its plan, from which enter starts it."""

    ADVICE: ClassVar[tuple[Action, ...]] = (
        Action("advice", "a", "advice", "Plan what a rule advises; enter there starts.", False),
        Action("next_advice", "A", "next advice", "Show the next advice.", footer=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def advice_box(self) -> Painted:
        """Its place; nothing is there while no rule advises anything."""
        return Painted(lambda w, _: advice_lines(self._advice, self._at, w), id="advice")

    @property
    def _advice(self) -> tuple[Advice, ...]:
        return self.store.advising.advice

    def draw_advice(self) -> None:
        """Bring it up to date; what a rule asks is asked once while it stands."""
        box = self.query_one("#advice", Painted)
        box.styles.height = len(advice_lines(self._advice, self._at, self.size.width))
        box.redraw()
        standing = {one.key for one in self._advice}
        self.store.asked &= standing
        if self._unasked() is not None:
            self.call_later(self._put_question)

    def _unasked(self) -> Advice | None:
        asking = (one for one in self._advice if one.level is RuleLevel.ASK)
        return next((one for one in asking if one.key not in self.store.asked), None)

    def _put_question(self) -> None:
        """Not over another one, nor on another screen: then at the next drawing."""
        advice = self._unasked()
        busy = self.query_one(Question).display or self.query_one(Prompt).display
        if advice is None or busy or not self.is_current or not self.store.link.up:
            return
        self.store.asked.add(advice.key)
        self.ask(question_lines(advice), lambda: self._open_advice(advice))

    def why_no_advice(self, name: str) -> str:
        """The reason why there is none to open, or no next one."""
        if not self._advice:
            return "No rule advises anything now."
        if name == "next_advice":
            return "" if len(self._advice) > 1 else "There is no other advice."
        return self.needs_engine()

    def do_advice(self) -> None:
        """The one that is shown."""
        self._open_advice(self._advice[self._at % len(self._advice)])

    def do_next_advice(self) -> None:
        """And around."""
        self._at = (self._at + 1) % len(self._advice)
        self.draw_all()

    def _open_advice(self, advice: Advice) -> None:
        if advice.wish is not None:
            self.ferry.open_evacuate(advice.wish)
            return
        wanted = {(move.vm, move.source) for move in advice.moves}
        vms = tuple(vm for vm in self.store.fleet.vms if (vm.uuid, vm.host) in wanted)
        if len(vms) < len(wanted):
            self.say("The VM is not there any more: the rules look at that in their next round.")
            return
        self.ferry.open_plan(vms, advice.moves[0].target)
