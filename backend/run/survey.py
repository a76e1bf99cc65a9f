"""Gathering the facts for a plan: one VM, its source, one target; all at once, changing nothing.

Each question has a time limit and an answer of its own: one that fails leaves its fact unknown,
with the reason, and holds nobody up. (To prove that storage is shared, `remote.probes` writes a
file of 32 characters and removes it; see there.)
"""

import asyncio
from dataclasses import replace

from backend.model import HostState, Mode, MoveOptions, Vm, VmState
from backend.plan.chains import missing_besides
from backend.plan.facts import Survey, renamed
from backend.plan.modes import mode_of
from backend.run.links import Links
from backend.run.survey_asking import Asking, HostAccess
from backend.run.survey_copy import with_copy_route
from backend.run.survey_exposed import ask_unverified, exposures
from backend.run.survey_measures import ask_measures
from backend.run.survey_preparing import ask_preparing, with_copies
from backend.run.survey_source import AtSource, ask_source, definition, needed_paths, parsed
from backend.run.survey_storage import ask_disks, ask_files, ask_pools, with_images, with_layers
from backend.run.survey_target import (
    ask_attachments,
    ask_cpu,
    ask_held,
    ask_hugepages,
    ask_machines,
    ask_networks,
    ask_reach,
    ask_versions,
)

__all__ = ["HostAccess", "survey"]

ASKED_NOTHING = MoveOptions()


async def survey(
    vm: Vm,
    source: HostAccess,
    target: HostAccess,
    links: Links | None = None,
    options: MoveOptions = ASKED_NOTHING,
) -> Survey:
    """Every fact that `plan.preflight` judges, and with `links` what a forecast measures;
    `options` name the pools and networks to look at.

    Never raises for a host that does not answer.
    """
    asking = Asking(vm, source, target, options=options)
    if mode_of(vm, options) is Mode.STORAGE:
        return await _of_disks(asking)
    if source.name == target.name or target.host.state is not HostState.UP:
        return _of_vm(asking, await ask_source(asking))
    facts, held, versions, reach, measures, unverified = await asyncio.gather(
        _of_pair(asking),
        ask_held(asking),
        ask_versions(asking),
        ask_reach(asking),
        ask_measures(asking, links),
        ask_unverified(asking),
    )
    facts = replace(
        facts,
        held=held[0] if held else None,
        held_uuid=held[1] if held else "",
        target_versions=versions,
        reach=reach,
        measures=measures,
        exposures=(*facts.exposures, *unverified),
    )
    return await with_copy_route(asking, facts) if facts.idle else facts


async def _of_disks(asking: Asking) -> Survey:
    """For disks that move between pools of one host: that, and no more."""
    at_source = await ask_source(asking)
    facts = _of_vm(asking, at_source)
    if at_source is None or not facts.same_host:
        return facts
    pools, config = await ask_pools(asking), parsed(asking, at_source)
    facts = replace(
        facts,
        source_pools=at_source.pools,
        stored_sources=at_source.stored,
        target_pools=pools,
    )
    if config is not None:
        config = replace(config, nics=())
        preparing = await ask_preparing(asking, config, at_source, pools, None)
        facts = replace(facts, preparing=preparing)
    if facts.idle:
        facts = await with_copy_route(asking, await with_images(asking, facts))
    return await with_copies(asking, facts)


async def _of_pair(asking: Asking) -> Survey:
    """First the VM's definition, then what can only be asked once that is known."""
    at_source = await ask_source(asking)
    facts, config = _of_vm(asking, at_source), parsed(asking, at_source)
    if at_source is None or config is None:
        return facts
    config = replace(config, nics=tuple(renamed(nic, facts.networks) for nic in config.nics))
    files, (machines, listed), fit, hugepages, networks, pools = await asyncio.gather(
        ask_files(asking, config, at_source),
        ask_machines(asking, config),
        ask_cpu(asking, config, at_source),
        ask_hugepages(asking, config),
        ask_networks(asking, config),
        ask_pools(asking),
    )
    attachments, disks, preparing = await asyncio.gather(
        ask_attachments(asking, config, networks, files),
        ask_disks(asking, config, at_source, files),
        ask_preparing(asking, config, at_source, pools, networks),
    )
    emulator = files.get(config.emulator)
    facts = replace(
        facts,
        cpu=fit,
        machines=machines,
        emulator_there=emulator.exists if emulator else (True if listed else None),
        free_hugepage_bytes=hugepages,
        attachments=attachments,
        disks=disks,
        source_pools=at_source.pools,
        stored_sources=at_source.stored,
        target_pools=pools,
        preparing=preparing,
        files_missing=tuple(
            path for path in needed_paths(config) if path in files and not files[path].exists
        ),
    )
    if facts.idle:
        facts = await with_layers(asking, await with_images(asking, facts))
    facts = await with_copies(asking, facts)
    return replace(facts, files_missing=missing_besides(facts))


def _of_vm(asking: Asking, at_source: AtSource | None) -> Survey:
    """What the source knows, in a survey that knows nothing else."""
    vm, source, target = asking.vm, asking.source, asking.target
    facts = Survey(
        vm=vm,
        source=source.host,
        target=target.host,
        encrypted=source.tls and target.tls,
        mode=mode_of(vm, asking.options),
        flatten=asking.options.flatten,
        migrate_uri=target.migrate_uri,
        exposures=exposures(source, target),
        choices=asking.options.disks,
        networks={one.source: one.target for one in asking.options.networks},
        unknown=asking.unknown,
    )
    if at_source is None:
        asking.unknown.setdefault("saved", asking.unknown.get("definition", ""))
        return facts
    raw, presence = at_source.raw, at_source.presence
    config = parsed(asking, at_source)
    now = replace(
        vm,
        state=presence.state,
        job=at_source.job,
        persistent=raw.persistent,
        autostart=raw.autostart,
    )
    return replace(
        facts,
        vm=now,
        mode=mode_of(now, asking.options),
        definition=definition(config, vm, at_source) if config else None,
        paused_reason=presence.state_reason if presence.state is VmState.PAUSED else "",
        io_error=at_source.disk_errors > 0,
        snapshots=raw.snapshots,
        checkpoints=raw.checkpoints,
        managed_save=raw.has_managed_save,
        source_versions=at_source.versions,
    )
