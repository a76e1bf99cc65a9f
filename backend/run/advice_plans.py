"""Advised moves are planned before anybody is told of them: what cannot be is not advised."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, replace

from backend.errors import FerryError
from backend.model import Advice, AdvisedMove, MoveOptions, Plan
from backend.run.evacuation_draw import refusal
from backend.run.planning import Planner

KEPT_S = 600.0
"""A forecast is good for so long, and so is a refusal: a plan asks both hosts, and their link."""

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Refused:
    at_s: float
    vm: str
    why: str


class AdvicePlans:
    """Of one fleet. Times are monotonic."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._made: dict[str, tuple[float, Advice]] = {}
        self._refused: dict[tuple[str, str], _Refused] = {}

    @property
    def blocked(self) -> dict[tuple[str, str], str]:
        """(UUID, target) -> why it was refused a short while ago."""
        now_s = time.monotonic()
        self._refused = {k: one for k, one in self._refused.items() if now_s - one.at_s < KEPT_S}
        return {key: one.why for key, one in self._refused.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """The same as sentences."""
        blocked = self.blocked
        return tuple(
            f"{self._refused[key].vm} cannot go to {key[1]}: {why}" for key, why in blocked.items()
        )

    async def planned(self, advice: Advice) -> Advice | None:
        """With the forecast of each move; None where one cannot be, which is `blocked` then."""
        made_s, made = self._made.get(advice.key, (0.0, None))
        if made is not None and time.monotonic() - made_s < KEPT_S:
            known = {move.vm: move.forecast for move in made.moves}
            foreseen = (replace(move, forecast=known[move.vm]) for move in advice.moves)
            return replace(advice, moves=tuple(foreseen))
        by_target: dict[str, list[AdvisedMove]] = defaultdict(list)
        for move in advice.moves:
            by_target[move.target].append(move)
        plans: dict[str, Plan] = {}
        for target, moves in by_target.items():
            plans |= await self._plans(target, moves)
        if len(plans) < len(advice.moves):
            return None
        done = replace(
            advice,
            moves=tuple(replace(m, forecast=plans[m.vm].forecast) for m in advice.moves),
        )
        now_s = time.monotonic()
        self._made = {k: one for k, one in self._made.items() if now_s - one[0] < KEPT_S}
        self._made[advice.key] = (now_s, done)
        return done

    async def _plans(self, target: str, moves: list[AdvisedMove]) -> dict[str, Plan]:
        """By UUID; those that can be."""
        names = tuple(f"{move.source}/{move.vm}" for move in moves)
        try:
            async with asyncio.timeout(LIMIT_S):
                planned = await self._planner.plan(names, target, MoveOptions())
        except (FerryError, TimeoutError) as error:
            silent = f"its hosts did not answer within {LIMIT_S:.0f} s"
            for move in moves:
                self._refuse(move, error.sentence if isinstance(error, FerryError) else silent)
            return {}
        found: dict[str, Plan] = {}
        for move, one in zip(moves, planned, strict=True):
            why = _why_not(one.plan)
            if why:
                self._refuse(move, why)
            else:
                found[move.vm] = one.plan
        return found

    def _refuse(self, move: AdvisedMove, why: str) -> None:
        self._refused[move.vm, move.target] = _Refused(time.monotonic(), move.name, why)


def _why_not(plan: Plan) -> str:
    """A move that would stay is none to advise."""
    if plan.blocked:
        return refusal(plan)
    forecast = plan.forecast
    if forecast is not None and not forecast.converges:
        return f"it would not converge ({forecast.needs or 'by its forecast'})"
    return ""
