"""The second attempts that verdicts promise: begun once the link is back, if still wanted."""

from collections.abc import Callable

from backend.errors import FerryError
from backend.model import Migration, MoveOptions, Severity
from backend.run.again import WAIT_S
from backend.run.attached import AttachedRun
from backend.run.migration import MigrationRun
from backend.run.planning import Planner
from backend.run.roster import Roster
from backend.run.together import Planned


class SecondAttempts:
    """Of one engine."""

    def __init__(
        self,
        planner: Planner,
        roster: Roster,
        begin: Callable[[Planned, MoveOptions, str], Migration],
    ) -> None:
        """`begin(planned, options, after)`: a migration that follows the one of id `after`."""
        self._planner = planner
        self._roster = roster
        self._begin = begin

    async def keep_promise(self, run: AttachedRun) -> None:
        """Of a second attempt, by what the journal has; one may be begun already."""
        id, asked = run.state.id, run.state.asked
        runs = (one.state for one in self._roster.runs.values())
        begun = next((state.id for state in runs if state.after == id), None)
        if begun is not None:
            run.second.begun(begun)
        elif asked is None or run.promised_s > WAIT_S:
            run.second.end("the engine that promised it has ended: begin it anew")
        else:
            await self.attempt(run, asked, run.promised_s)

    async def attempt(
        self, run: MigrationRun, options: MoveOptions, promised_s: float = 0.0
    ) -> None:
        """If it is wanted: when the link is back; `promised_s`: so long ago it was promised."""
        if run.second.wanted and await run.second.link_is_back(promised_s):
            again = run.second.options(options, run.begun_s)
            if again is None:
                run.second.end("its deadline is over")
            else:
                await self._try_again(run, again)

    async def _try_again(self, run: MigrationRun, options: MoveOptions) -> None:
        """Planned anew, as everything may have changed meanwhile."""
        state = run.state
        try:
            wanted = (f"{state.source}/{state.uuid}",)
            (planned,) = await self._planner.plan(wanted, state.target, options)
        except FerryError as error:
            run.second.end(error.sentence)
            return
        blocking = [one for one in planned.plan.findings if one.severity is Severity.BLOCK]
        if blocking:
            run.second.end(blocking[0].sentence)
        elif state.uuid in self._roster.running_uuids():
            run.second.end("it moves already")
        elif run.second.wanted:
            second = self._begin(planned, options, state.id)
            run.second.begun(second.id)
