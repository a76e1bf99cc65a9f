"""What `run` would do of the rules' advice: one object, printed by a dry run and carried out else.

Pure.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from backend.model import Advice, Advising, Evacuation, MoveState, RuleKind, RuleLevel
from backend.service.protocol import Start, StartEvacuation
from tui.commands.session import plain
from tui.render import evacuation_words as words


@dataclass(frozen=True, slots=True)
class Order:
    """One advice, decided: exactly this is asked of the engine."""

    advice: Advice
    planned: Evacuation | None = None
    """Of a host that is emptied; None: one move to one target."""

    @property
    def request(self) -> Start | StartEvacuation:
        """The one request that does it; a bundle goes whole or not at all."""
        if self.planned is not None:
            return StartEvacuation(replace(self.planned.wish, choices=self.planned.pinned))
        moves = self.advice.moves
        return Start(tuple(f"{move.source}/{move.vm}" for move in moves), moves[0].target)

    @property
    def moves(self) -> tuple[dict[str, object], ...]:
        """Who goes from where to where, and how it is forecast."""
        if self.planned is None:
            found = [
                (one.name, one.vm, one.source, one.target, one.forecast)
                for one in self.advice.moves
            ]
        else:
            waiting = self.planned.in_state(MoveState.WAITING)
            found = [
                (one.vm, one.uuid, one.source, one.target or "", one.forecast) for one in waiting
            ]
        keys = ("vm", "uuid", "source", "target", "forecast")
        return tuple(dict(zip(keys, plain(one), strict=True)) for one in found)

    @property
    def stays(self) -> tuple[dict[str, object], ...]:
        """Who does not go, and why."""
        left = words.staying(self.planned) if self.planned else ()
        return tuple({"vm": one.vm, "uuid": one.uuid, "reason": one.reason} for one in left)

    @property
    def sentence(self) -> str:
        """For people."""
        told = [f"{move['vm']} {move['source']} → {move['target']}" for move in self.moves]
        stays = [f"{one['vm']} stays: {one['reason']}" for one in self.stays]
        return f"{said(self.advice)}: {'; '.join([', '.join(told), *stays])}"


def said(advice: Advice) -> str:
    """`even: memory of kvm-a was above 80 % …; db-1 to kvm-c: …`."""
    return f"{advice.rule}: {advice.reason}; {advice.gain}"


def advice_json(advice: Advice) -> dict[str, object]:
    """What was decided and why."""
    return {
        "rule": advice.rule,
        "kind": advice.kind.value,
        "level": advice.level.value,
        "reason": advice.reason,
        "gain": advice.gain,
        "gain_percent": round(advice.gain_percent, 1),
        "host": advice.drain or None,
        "until": advice.until,
    }


def order_json(order: Order) -> dict[str, object]:
    """What is done, exactly: the same of a dry run and of one that does it."""
    return {
        **advice_json(order.advice),
        "moves": list(order.moves),
        "stays": list(order.stays),
    }


def why_not(advice: Advice, planned: Evacuation) -> str:
    """Why that plan is not begun; empty: it is."""
    going, staying = planned.in_state(MoveState.WAITING), words.staying(planned)
    reasons = "; ".join(f"{move.vm}: {move.reason}" for move in staying)
    if not going:
        return f"no VM of {planned.host} can go ({reasons or 'there is none'})"
    if advice.kind is RuleKind.CONSOLIDATE and staying:
        return f"{planned.host} would not be empty ({reasons})"
    return ""


def automatic(
    advising: Advising, busy: Collection[Advice], not_now: Collection[str], one_at_a_time: bool
) -> Iterator[Advice]:
    """What is to be done now: not what is being done, nor what was refused a moment ago
    (`not_now`: keys), nor on a host that something is being done with.

    `one_at_a_time`: of moves; a host that is emptied has an order of its own.
    """
    taken = {host for advice in busy for host in advice.hosts}
    moving = one_at_a_time and any(advice.wish is None for advice in busy)
    for advice in advising.advice:
        if advice.level is not RuleLevel.AUTOMATIC or advice.key in not_now:
            continue
        if taken & set(advice.hosts) or (moving and advice.wish is None):
            continue
        taken |= set(advice.hosts)
        moving = moving or (one_at_a_time and advice.wish is None)
        yield advice
