"""Asking hosts about each other: names, libvirt's port, the ports of migrations, and trust."""

import asyncio
from collections.abc import Iterable

from backend.plan.doctor_facts import Checkup, PortWord, TrustKey, named_in
from backend.plan.doctor_ways import wanted_names
from backend.plan.facts import Reach
from backend.remote import checkup as told
from backend.remote import pki
from backend.remote.nodes import PORTS as COPY_PORTS
from backend.remote.probes import ReachFault, probe_reach
from backend.run.doctor_host import HostAnswers
from backend.run.survey_target import reach_of

REACH_LIMIT_S = 5.0
ALL_REACHED_LIMIT_S = 8.0
"""Of all targets that one host tries."""
_AT_ONCE = 4
"""Commands that one host runs at the same time."""


async def ask_ways(of: HostAnswers, others: Iterable[HostAnswers], limit_s: float) -> None:
    """Names and ports of the others that are up; known only once they have told theirs."""
    targets = _targets(of, others)
    if of.up and of.watch.shell is not None:
        await asyncio.gather(_ask_names(of, targets, limit_s), _ask_ports(of, targets, limit_s))


def _targets(of: HostAnswers, others: Iterable[HostAnswers]) -> list[HostAnswers]:
    return [one for one in others if one.up and one.name != of.name]


async def _ask_names(of: HostAnswers, targets: list[HostAnswers], limit_s: float) -> None:
    assert of.watch.shell is not None
    names = sorted({name for one in targets for name in wanted_names(one.checkup)})
    if not names:
        of.add(names={})
        return
    found = await of.ask("names", told.probe_names(of.watch.shell, names, limit_s), limit_s)
    if found is None:
        of.unknown.setdefault("names", "it has no getent")
    of.add(names=found)


async def ask_reach(of: HostAnswers, others: Iterable[HostAnswers]) -> None:
    """Try the libvirt of all others that are up; what does not come in time is not known."""
    if not of.up or of.watch.shell is None:
        return
    targets, turn = _targets(of, others), asyncio.Semaphore(_AT_ONCE)

    async def one(target: HostAnswers) -> tuple[str, Reach | None]:
        async with turn:
            return target.name, await _reach(of, target)

    asked = [asyncio.create_task(one(target)) for target in targets]
    if not asked:
        return
    done, late = await asyncio.wait(asked, timeout=ALL_REACHED_LIMIT_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    if late:
        of.unknown["reach"] = f"not all within {ALL_REACHED_LIMIT_S:g} s"
    pairs = [task.result() for task in done]
    of.add(reach={name: reach for name, reach in pairs if reach is not None})


async def _reach(of: HostAnswers, target: HostAnswers) -> Reach | None:
    assert of.watch.shell is not None
    probe = probe_reach(of.watch.shell, target.watch.migrate_uri, REACH_LIMIT_S)
    found = await of.ask("reach", probe, REACH_LIMIT_S + 3)
    if found is not None and found.fault is ReachFault.UNTRIED:
        of.unknown["reach"] = found.detail
        return None
    return None if found is None else reach_of(found, target.checkup.host.hostname)


async def _ask_ports(of: HostAnswers, targets: list[HostAnswers], limit_s: float) -> None:
    assert of.watch.shell is not None
    wanted = {
        (_called(one.checkup), port): (one.name, port)
        for one in targets
        for port in _ports_of(one)
        if _called(one.checkup)
    }
    probe = told.probe_ports(of.watch.shell, list(wanted), limit_s)
    found = await of.ask("ports", probe, limit_s)
    if found is None:
        of.unknown.setdefault("ports", "it has no bash, or no timeout")
        return
    of.add(ports={wanted[way]: PortWord(word) for way, word in found.items()})


def _called(target: Checkup) -> str:
    """What QEMU at a source will connect to."""
    return target.address or named_in(target.migrate_uri) or target.host.hostname


def _ports_of(target: HostAnswers) -> tuple[int, ...]:
    """The ends of its range, and the first that copies of disks come in at."""
    if target.papers is None:
        return (told.FIRST_PORT, COPY_PORTS[0], told.LAST_PORT)
    ends = {target.papers.first_port, target.papers.last_port}
    return tuple(sorted({*ends, COPY_PORTS[0]}))


def trust_among(answers: Iterable[HostAnswers]) -> dict[TrustKey, bool]:
    """Who would take whose certificate, by signatures alone. Some ms a pair: not for the loop."""
    pems = {
        one.name: {file.role: file.pem for file in one.papers.files if file.readable}
        for one in answers
        if one.papers is not None and one.checkup.needs_papers
    }
    tls = {one.name: one.checkup.host.tls for one in answers}
    found: dict[TrustKey, bool] = {}
    for owner, shown in pems.items():
        for by, held in pems.items():
            if owner == by:
                continue
            for plane in ("libvirt", "qemu"):
                if plane == "qemu" and not (tls[owner] and tls[by]):
                    continue
                for role in ("server", "client"):
                    known = _trusts(held.get(f"{plane}-ca"), shown.get(f"{plane}-{role}"))
                    if known is not None:
                        found[plane, role, owner, by] = known
    return found


def _trusts(authorities: str | None, shown: str | None) -> bool | None:
    return pki.trusts(authorities, shown) if authorities and shown else None
