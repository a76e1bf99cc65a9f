"""An examination of the whole fleet: ask every host at once, judge, and look again before a bad
word is said of what changes by itself.

A dead host is a finding, and stalls nobody: each question is bounded, and so is the whole.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from backend.fleet.inventory import Inventory
from backend.model import Examination, Migration, Outcome
from backend.plan.doctor import Key, doubtful, examined
from backend.plan.doctor_facts import Doubt, FleetFacts
from backend.run.doctor_host import (
    ASK_LIMIT_S,
    HostAnswers,
    ask_files,
    ask_host,
    begun,
    look_again,
    unnamed_volumes,
)
from backend.run.doctor_ways import ask_reach, ask_ways, trust_among

log = logging.getLogger(__name__)

SETTLE_S = 6.0
WHOLE_LIMIT_S = 17.0
"""What is asked last gets what is left of it,"""
LEAST_S = 3.0
"""but so much always."""
LOOK_AGAIN_S = 1.5
"""Between two looks at the VMs: longer than two ends of one migration disagree."""


async def examine(inventory: Inventory, migrations: Sequence[Migration]) -> Examination:
    """`migrations`: all that this engine knows of. Never raises for a host."""
    begun_s = time.monotonic()
    await inventory.settled(SETTLE_S)
    answers = [begun(watch, inventory.now) for watch in inventory.hosts.values()]
    await asyncio.gather(
        *(ask_host(one) for one in answers), *(ask_reach(one, answers) for one in answers)
    )
    candidates = frozenset(vol.path for one in answers for vol in unnamed_volumes(one))
    left_s = WHOLE_LIMIT_S - (time.monotonic() - begun_s)
    limit_s = max(LEAST_S, min(ASK_LIMIT_S, left_s))
    await asyncio.gather(
        *(ask_ways(one, answers, limit_s) for one in answers),
        *(ask_files(one, candidates) for one in answers),
    )
    facts = replace(
        _facts(answers, migrations, inventory.now()),
        trust=await asyncio.to_thread(trust_among, answers),
    )
    bad = doubtful(facts)
    again = await _look_again(facts, answers, migrations, bad) if bad else None
    return Examination(
        examined(facts, again), inventory.now(), round(time.monotonic() - begun_s, 2)
    )


async def _look_again(
    facts: FleetFacts,
    answers: list[HostAnswers],
    migrations: Sequence[Migration],
    bad: frozenset[Key],
) -> frozenset[Key]:
    """A host that does not answer now takes nothing back."""
    await asyncio.sleep(LOOK_AGAIN_S)
    names = {vm for _, vm, _ in bad}
    copies = await asyncio.gather(*(look_again(one, names) for one in answers))
    hosts = tuple(replace(host, copies=now) for host, now in zip(facts.hosts, copies, strict=True))
    return doubtful(replace(facts, hosts=hosts, moving=_moving(migrations) | facts.moving))


def _facts(
    answers: Iterable[HostAnswers], migrations: Sequence[Migration], now_s: float
) -> FleetFacts:
    return FleetFacts(
        hosts=tuple(replace(one.checkup, unknown=one.unknown) for one in answers),
        now=now_s,
        moving=_moving(migrations),
        open_moves=frozenset(one.id for one in migrations if one.running),
        suspended=frozenset(one.uuid for one in migrations if one.suspended and not one.running),
        doubts=_doubts(migrations),
    )


def _moving(migrations: Iterable[Migration]) -> frozenset[str]:
    return frozenset(one.uuid for one in migrations if one.running)


_OPEN = (Outcome.UNKNOWN, Outcome.LOST, Outcome.SPLIT)


def _doubts(migrations: Sequence[Migration]) -> tuple[Doubt, ...]:
    """Of each VM's newest migration, where it leaves open who has the VM."""
    newest = {one.uuid: one for one in migrations}
    return tuple(
        Doubt(one.vm, one.uuid, one.source, one.target, one.verdict.outcome.value)
        for one in newest.values()
        if one.verdict is not None and one.verdict.outcome in _OPEN
    )
