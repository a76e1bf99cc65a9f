"""What an operator does to a run: pause, skip, reorder, end."""

from dataclasses import replace

from backend.errors import BadInput, FerryError
from backend.model import EvacuationControl, EvacuationMove, EvacuationState, MoveState
from backend.run.evacuation_kit import Kit
from backend.run.evacuation_told import ToldRun


class RunControls:
    """Of one run; going on is the run's own."""

    def __init__(self, told: ToldRun, kit: Kit) -> None:
        self._told = told
        self._kit = kit

    async def operate(self, control: EvacuationControl, uuid: str | None) -> None:
        """Raises BadInput for what cannot be now."""
        match control:
            case EvacuationControl.PAUSE:
                self._pause()
            case EvacuationControl.ABORT:
                await self._abort()
            case EvacuationControl.SKIP:
                await self._skip(self._chosen(uuid))
            case EvacuationControl.SOONER | EvacuationControl.LATER:
                self._reorder(self._chosen(uuid), control)

    def _chosen(self, uuid: str | None) -> EvacuationMove:
        move = self._told.state.move_of(uuid or "")
        if move is None:
            raise BadInput("That VM is not in this run.")
        return move

    def _pause(self) -> None:
        if self._told.state.state is not EvacuationState.RUNNING:
            raise BadInput(f"The run is {self._told.state.state} already.")
        self._told.update(state=EvacuationState.PAUSED)
        self._told.note("paused: what moves goes on, nothing new is started", "operator")

    async def _abort(self) -> None:
        self._told.update(aborted=True)
        self._told.note(
            "to be ended: nothing more is started, what moves is asked to stay", "operator"
        )
        for move in self._told.state.in_state(MoveState.WAITING):
            self._told.set(replace(move, state=MoveState.LEFT_OUT, reason="the run was ended"))
        await self.ask_to_stay(self._told.state.in_state(MoveState.MOVING))

    async def _skip(self, move: EvacuationMove) -> None:
        if move.state is MoveState.WAITING:
            self._told.set(replace(move, state=MoveState.LEFT_OUT, reason="skipped, as asked"))
            self._told.note(f"{move.vm} is skipped", "operator")
        elif move.state is MoveState.MOVING:
            self._told.note(f"{move.vm} is asked to stay", "operator")
            await self.ask_to_stay((move,))
        else:
            raise BadInput(f"{move.vm} is done: {move.state}.")

    async def ask_to_stay(self, asked: tuple[EvacuationMove, ...]) -> None:
        """Those that move; what an abort refuses is noted."""
        troubles = []
        for move in asked:
            self._told.set(replace(move, stop=True))
            if move.id is not None:
                try:
                    await self._kit.hands.abort(move.id)
                except FerryError as error:
                    troubles.append(f"{move.vm}: {error.sentence}")
        for trouble in troubles:
            self._told.note(trouble)

    def _reorder(self, move: EvacuationMove, control: EvacuationControl) -> None:
        if move.state is not MoveState.WAITING:
            raise BadInput(f"{move.vm} does not wait: {move.state}.")
        ranks = [one.rank for one in self._told.state.in_state(MoveState.WAITING)]
        first = control is EvacuationControl.SOONER
        rank = min(ranks) - 1 if first else max(ranks) + 1
        self._told.set(replace(move, rank=rank))
        self._told.note(f"{move.vm} goes {'before' if first else 'after'} the others", "operator")
