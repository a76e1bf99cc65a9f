"""How images of a VM that does not run could be copied from the source to the target."""

import asyncio
from dataclasses import replace

from backend.model import CopyRoute
from backend.plan.facts import ReachProblem, Survey
from backend.remote.shell import Shell, run_script
from backend.run.survey_asking import PROBE_LIMIT_S, Asking

_MISSING = r"""
for tool in qemu-storage-daemon qemu-img sha256sum; do
    command -v "$tool" >/dev/null 2>&1 || echo "$tool"
done
"""


async def with_copy_route(asking: Asking, facts: Survey) -> Survey:
    """What both hosts need for it, and which way the bytes would go."""
    source = asking.shell("copy", asking.source)
    target = asking.shell("copy", asking.target)
    if source is None or target is None:
        return facts
    lacking = await asyncio.gather(_missing(asking, source), _missing(asking, target))
    hosts = (facts.source.name, facts.target.name)
    for host, tools in zip(hosts, lacking, strict=True):
        if tools:
            return replace(
                facts,
                copy_refused=f"{host} has no {', no '.join(tools)}: images cannot be copied",
                copy_remedy=f"Install it on {host} (qemu-utils, qemu-system-common, coreutils).",
            )
        if tools is None:
            return facts
    return _routed(facts)


async def _missing(asking: Asking, shell: Shell) -> list[str] | None:
    done = await asking.ask("copy", run_script(shell, _MISSING), PROBE_LIMIT_S)
    return None if done is None else done.stdout.split()


def _routed(facts: Survey) -> Survey:
    """Directly where the source reaches the target; that is quicker, and nobody is in between."""
    source, target = facts.source.name, facts.target.name
    if facts.reach is not None and facts.reach.problem is ReachProblem.NONE:
        how = "NBD over TLS" if facts.encrypted else "NBD, NOT ENCRYPTED"
        why = f"images go from {source} to {target} directly: {how}"
        return replace(facts, copy_route=CopyRoute.DIRECT, copy_why=why)
    why = f"{source} does not reach {target}: images go through the engine, over SSH"
    return replace(facts, copy_route=CopyRoute.RELAY, copy_why=why)
