"""What is measured for a forecast: memory in use, what the VM writes, what the link carries."""

import asyncio

from backend.model import Host, Reading, Vm
from backend.plan.facts import Measures
from backend.remote.memory_use import LIMIT_S as MEMORY_LIMIT_S
from backend.remote.memory_use import memory_in_use
from backend.run.links import Links, Probed
from backend.run.survey_asking import Asking

RECENT_S = 60.0
"""Readings newer than this are good enough: a steady VM is measured once a minute."""
WANTED_PERIOD_S = 2
"""A plan waits for a reading over so long; what the background finds later is longer."""
READINGS_LIMIT_S = 3.0
LINK_LIMIT_S = 7.0


async def ask_measures(
    asking: Asking, links: Links | None = None, readings_limit_s: float = READINGS_LIMIT_S
) -> Measures:
    """All at once; what could not be measured is None, its reason in `unknown` (keys: `memory-use`,
    `readings`, `link`).

    Without `links` nothing is probed. It waits at most `readings_limit_s` for a reading where none
    is recent; with one it takes as long as the link's probe: about 1.5 s, once a minute.
    """
    source, target = asking.source.host, asking.target.host
    in_use, readings, link = await asyncio.gather(
        _memory(asking), _readings(asking, readings_limit_s), _link(asking, links)
    )
    return Measures(
        in_use_bytes=in_use,
        readings=readings,
        link_probe_bytes_s=link.probe.rate_bytes_s if link else None,
        link_probed_at=link.at if link and link.probe.rate_bytes_s else None,
        cpu_percent=_cpu_percent(asking.vm),
        sharing_link=max(source.migrations_out, target.migrations_in),
    )


def _cpu_percent(vm: Vm) -> float | None:
    """The usual, unless it has just got busier."""
    known = [one for one in (vm.cpu_usual_percent, vm.cpu_percent) if one is not None]
    return max(known, default=None)


async def _memory(asking: Asking) -> int | None:
    vm = asking.vm
    if not vm.state.active:
        asking.unknown["memory-use"] = "it does not run"
        return None
    shell = asking.shell("memory-use", asking.source)
    if shell is None:
        return None
    found = await asking.ask(
        "memory-use", memory_in_use(shell, vm.uuid, vm.memory_bytes), MEMORY_LIMIT_S
    )
    if found is not None and found.in_use_bytes is None:
        asking.unknown["memory-use"] = found.why
    return found.in_use_bytes if found else None


async def _readings(asking: Asking, limit_s: float) -> tuple[Reading, ...]:
    found = await asking.source.measured(asking.vm.uuid, WANTED_PERIOD_S, RECENT_S, limit_s)
    if not found:
        asking.unknown["readings"] = (
            f"no reading within {limit_s:g} s" if asking.vm.state.active else "it does not run"
        )
    return found


async def _link(asking: Asking, links: Links | None) -> Probed | None:
    source, target = asking.source, asking.target
    if links is None:
        return None
    known = links.probed(source.name, target.name)
    if known is None:
        busy = [end.name for end in (source, target) if _moves(end.host)]
        if busy:
            asking.unknown["link"] = f"a migration uses the link of {' and '.join(busy)}"
            return None
        here, there = asking.shell("link", source), asking.shell("link", target)
        if here is None or there is None:
            return None
        probe = links.probe(source.name, target.name, (here, there), target.migrate_uri)
        known = await asking.ask("link", probe, LINK_LIMIT_S)
    if known is not None and known.probe.rate_bytes_s is None:
        asking.unknown["link"] = known.probe.why
    return known


def _moves(host: Host) -> bool:
    return host.migrations_out + host.migrations_in > 0
