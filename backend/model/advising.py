"""What the fleet's rules say now: decided by the engine; shown, asked or done by its clients."""

from dataclasses import dataclass
from enum import StrEnum

from backend.model.evacuating import EvacuationChoice, EvacuationWish
from backend.model.planning import Forecast


class RuleKind(StrEnum):
    """What a rule wants."""

    BALANCE = "balance"
    CONSOLIDATE = "consolidate"
    DRAIN = "drain"
    FOLLOW = "follow"


class RuleLevel(StrEnum):
    """What becomes of its advice."""

    ADVISE = "advise"
    """It is shown."""
    ASK = "ask"
    """The operator is asked."""
    AUTOMATIC = "automatic"
    """It is done, while `virt-ferry run` is at work."""


@dataclass(frozen=True, slots=True)
class AdvisedMove:
    """One VM to move."""

    vm: str
    """Its UUID."""
    name: str
    source: str
    target: str
    forecast: Forecast | None = None
    """By its plan; None: not planned yet."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What a rule would have done now; all of its moves or none."""

    rule: str
    kind: RuleKind
    level: RuleLevel
    moves: tuple[AdvisedMove, ...]
    reason: str
    """What is so, as a sentence without its full stop."""
    gain: str
    """What it will have brought, likewise."""
    gain_percent: float = 0.0
    """The busier host's load, before less after; 0 where that is not the aim."""
    drain: str = ""
    """The host to evacuate: the moves are those of its plan, made when it is asked for."""
    until: float | None = None
    """Epoch seconds: what would not end by then is not started."""

    @property
    def key(self) -> str:
        """Tells it from other advice, whatever the figures in its sentences."""
        moves = ",".join(f"{move.vm}>{move.target}" for move in self.moves)
        return f"{self.rule} {self.drain}{moves}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """All that it touches."""
        ends = [host for move in self.moves for host in (move.source, move.target)]
        return tuple(dict.fromkeys(([self.drain] if self.drain else []) + ends))

    @property
    def wish(self) -> EvacuationWish | None:
        """As a run; None: its moves are one plan to one target.

        A consolidated host is emptied and stays open: it may be needed again.
        """
        if self.drain:
            return EvacuationWish(self.drain, until=self.until)
        if self.kind is not RuleKind.CONSOLIDATE:
            return None
        return EvacuationWish(
            self.moves[0].source,
            targets=tuple(sorted({move.target for move in self.moves})),
            choices=tuple(EvacuationChoice(move.vm, move.target) for move in self.moves),
            maintenance=False,
        )


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule of the fleet file, for a list."""

    name: str
    kind: RuleKind
    level: RuleLevel
    about: str
    """What it looks at, in words."""
    opens: float | None = None
    """Epoch seconds of its next window; None: it has none."""


@dataclass(frozen=True, slots=True)
class Advising:
    """What all rules say."""

    round: int = 0
    """How many rounds were decided so far."""
    at: float = 0.0
    """Epoch seconds."""
    rules: tuple[RuleLine, ...] = ()
    advice: tuple[Advice, ...] = ()
    notes: tuple[str, ...] = ()
    """Why there is no more of it: loads not known yet, moves that cannot be."""
