"""Findings about where VMs are: each one once, and no migration without its other end. Pure.

A paused copy is not a running one, and what it means depends on what the other hosts say: whether
another copy runs, whether every host was heard, and libvirt's reason for the pause.
"""

import shlex
from collections.abc import Iterator

from backend.model import FleetFinding, Grade
from backend.plan.doctor_facts import Copy, FleetFacts, finding, listed

POST_COPY_FAILED = "post-copy failed"
_WAITING = ("migration", "post-copy")
"""Reasons for which libvirt holds a copy paused that is not, or no longer, the VM."""


def vms_once(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Each VM on one host; and where two have it, which is which."""
    for copies in facts.by_uuid().values():
        if any(copy.reason == POST_COPY_FAILED for copy in copies):
            yield _post_copy_broken(copies, facts.silent)
        elif not any(copy.migrates for copy in copies):
            yield from _active(copies, facts.silent)
            yield from _definitions(copies)
    yield from _nowhere(facts)
    yield from _same_names(facts)


def _active(copies: list[Copy], silent: tuple[str, ...]) -> Iterator[FleetFinding]:
    executing = [copy for copy in copies if copy.active and not copy.paused]
    paused = [copy for copy in copies if copy.paused]
    waiting = [copy for copy in paused if copy.reason in _WAITING]
    if len(executing) > 1:
        yield _runs_twice(executing)
    elif executing and paused:
        for copy in paused:
            left = copy in waiting
            yield (_left_behind if left else _paused_beside)(copy, executing[0])
    elif len(paused) > 1:
        yield _paused_twice(paused)
    elif waiting:
        yield _paused_alone(waiting[0], silent)


def _runs_twice(copies: list[Copy]) -> FleetFinding:
    hosts, one = _hosts(copies), copies[0]
    disks = " and to the same disks" if _share_images(copies) else ""
    return finding(
        "vm-runs-twice",
        Grade.ALARM,
        hosts,
        f"{one.name} RUNS TWICE: on {listed(hosts)} at once. Certain: each copy executes and"
        f" writes{disks}, and each answers for its addresses. Not known: which one holds the work"
        " that counts",
        f"Decide which copy is right (its console, its data, who reaches it). On the other's host:"
        f" virsh destroy {one.uuid}; virsh undefine {one.uuid} --keep-nvram. Then check the file"
        " systems of the one that stays.",
        one.name,
    )


def _share_images(copies: list[Copy]) -> bool:
    return bool(copies[0].images.intersection(*(copy.images for copy in copies[1:])))


def _paused_beside(copy: Copy, running: Copy) -> FleetFinding:
    why = f" ({copy.reason})" if copy.reason else ""
    return finding(
        "vm-active-twice",
        Grade.ALARM,
        (running.host, copy.host),
        f"{copy.name} is active on two hosts: it runs on {running.host} and is paused{why} on"
        f" {copy.host}. Certain: only one executes now. Risked: a resume of the other would have"
        " both write to its disks",
        f"If the one on {running.host} is right: on {copy.host}: virsh destroy {copy.uuid}."
        " Resume neither before.",
        copy.name,
    )


def _left_behind(copy: Copy, running: Copy) -> FleetFinding:
    return finding(
        "vm-copy-left",
        Grade.MEND,
        (copy.host, running.host),
        f"{copy.name} runs on {running.host}, and a paused copy of a migration is left on"
        f" {copy.host}. Certain: the one that runs is whole, and no migration goes on",
        f"On {copy.host}: virsh destroy {copy.uuid}. Never resume it.",
        copy.name,
    )


def _paused_twice(paused: list[Copy]) -> FleetFinding:
    reasons = ", ".join(f"{copy.host}: {copy.reason or 'no reason'}" for copy in paused)
    one = paused[0]
    return finding(
        "vm-paused-twice",
        Grade.ALARM,
        _hosts(paused),
        f"{one.name} is paused on {listed(_hosts(paused))} ({reasons}) and runs nowhere."
        " Certain: no migration goes on. Not known: whether the memory of the copy that was"
        " received is whole; the source's is",
        "Resume the source's copy, where it was before: virsh resume "
        f"{one.uuid}; and end the other: virsh destroy {one.uuid}. Never resume both.",
        one.name,
    )


def _paused_alone(copy: Copy, silent: tuple[str, ...]) -> FleetFinding:
    begun = (
        f"{copy.name} is paused by a migration ({copy.reason}) on {copy.host}, and no migration"
        " goes on"
    )
    if silent:
        return finding(
            "vm-maybe-elsewhere",
            Grade.ALARM,
            (copy.host, *silent),
            f"{begun}. Not known: whether it runs on {listed(silent)}, which cannot be asked."
            " Risked: resumed here, it may run twice; destroyed here, it may be lost",
            f"Find out first whether {listed(silent)} is off, or bring it back, and examine again."
            f" Only if it is off for certain: on {copy.host}: virsh resume {copy.uuid}.",
            copy.name,
        )
    return finding(
        "vm-paused-alone",
        Grade.ALARM,
        (copy.host,),
        f"{begun}. Certain: no host of the fleet runs it. Not known: whether all of its memory is"
        " here",
        f"On {copy.host}: virsh resume {copy.uuid}. If that is refused, its memory never arrived"
        f" whole: virsh destroy {copy.uuid}, then virsh start {copy.uuid} (from its disks).",
        copy.name,
    )


def _post_copy_broken(copies: list[Copy], silent: tuple[str, ...]) -> FleetFinding:
    hosts, one = _hosts([copy for copy in copies if copy.active]), copies[0]
    missing = f", and {listed(silent)} cannot be asked" if silent and len(hosts) < 2 else ""
    return finding(
        "vm-post-copy-broken",
        Grade.ALARM,
        hosts,
        f"The post-copy of {one.name} broke: its memory is in two parts, on {listed(hosts)}"
        f"{missing}. Certain: neither part is whole; destroying either loses the VM's memory",
        f"Restore the link between the hosts, then: virt-ferry recover {shlex.quote(one.name)} (or"
        " the same virsh migrate again with --postcopy-resume). Destroy neither.",
        one.name,
    )


def _definitions(copies: list[Copy]) -> Iterator[FleetFinding]:
    off = [copy for copy in copies if not copy.active]
    active = [copy for copy in copies if copy.active]
    if active:
        for copy in off:
            yield _stale(copy, f"it is {active[0].state.value} on {active[0].host}", active[0].host)
    elif len(off) > 1:
        moved = [copy for copy in off if copy.reason == "migrated"]
        rest = [copy for copy in off if copy not in moved]
        if moved and len(rest) == 1:
            for copy in moved:
                yield _stale(copy, f"it was moved away, to {rest[0].host}", rest[0].host)
        else:
            yield _defined_twice(off)


def _stale(copy: Copy, why: str, right: str) -> FleetFinding:
    saved = (
        f". It also has a saved state there: virsh managedsave-remove {copy.uuid} first"
        if copy.saved
        else ""
    )
    return finding(
        "vm-stale-definition",
        Grade.MEND,
        (copy.host, right),
        f"{copy.host} holds a stale definition of {copy.name} (shut off): {why}",
        f"On {copy.host}: virsh undefine {copy.uuid} --keep-nvram{saved}",
        copy.name,
    )


def _defined_twice(copies: list[Copy]) -> FleetFinding:
    hosts, one = _hosts(copies), copies[0]
    return finding(
        "vm-defined-twice",
        Grade.MEND,
        hosts,
        f"{one.name} is defined on {listed(hosts)} and runs on none: which definition is stale"
        " cannot be told from here",
        "Compare when its images were last written (ls -l on each host). Where it is old: virsh"
        f" undefine {one.uuid} --keep-nvram. Start neither before.",
        one.name,
    )


def _nowhere(facts: FleetFacts) -> Iterator[FleetFinding]:
    held = {copy.uuid for copy in facts.copies()}
    for doubt in facts.doubts:
        if doubt.uuid in held or doubt.uuid in facts.moving:
            continue
        unheard = f"; {listed(facts.silent)} cannot be asked" if facts.silent else ""
        yield finding(
            "vm-nowhere",
            Grade.ALARM,
            (doubt.source, doubt.target),
            f"{doubt.vm} is on no host that answers: its move from {doubt.source} to"
            f" {doubt.target} ended as {doubt.outcome}{unheard}",
            f"Bring {listed(facts.silent)} back and examine again."
            if facts.silent
            else "Its disks are where the report of that move says: define it anew from a backup"
            " of its XML, on one host only.",
            doubt.vm,
        )


def _same_names(facts: FleetFacts) -> Iterator[FleetFinding]:
    named: dict[str, dict[str, str]] = {}
    for copy in facts.copies():
        named.setdefault(copy.name, {}).setdefault(copy.uuid, copy.host)
    for name, found in named.items():
        if len(found) > 1:
            hosts = tuple(dict.fromkeys(found.values()))
            yield finding(
                "vm-same-name",
                Grade.REMARK,
                hosts,
                f"{len(found)} different VMs are called {name}, on {listed(hosts)}: neither can"
                " move to the other's host",
                "Rename one while it is shut off: virsh domrename UUID NEWNAME.",
                name,
            )


# -- jobs ------------------------------------------------------------------------------------


def jobs(facts: FleetFacts) -> Iterator[FleetFinding]:
    """Every migration's job with its other end."""
    for copies in facts.by_uuid().values():
        if any(copy.reason == POST_COPY_FAILED for copy in copies):
            continue
        out = [copy for copy in copies if copy.job == "migration out"]
        into = [copy for copy in copies if copy.job == "migration in"]
        if out and len(copies) == 1:
            yield _no_target(out[0], facts.silent)
        elif into and not out:
            yield _no_source(into[0], [one for one in copies if one not in into], facts.silent)


def _no_target(copy: Copy, silent: tuple[str, ...]) -> FleetFinding:
    unheard = f", or {listed(silent)}, which cannot be asked" if silent else ""
    return finding(
        "job-no-target",
        Grade.REMARK if silent else Grade.MEND,
        (copy.host,),
        f"{copy.name} has a migration's job on {copy.host}, and no host of the fleet receives it:"
        f" its target is another host{unheard}, or is gone",
        f"On {copy.host}: virsh domjobinfo {copy.uuid}; if nothing goes on: virsh domjobabort"
        f" {copy.uuid} (it runs on there).",
        copy.name,
    )


def _no_source(copy: Copy, others: list[Copy], silent: tuple[str, ...]) -> FleetFinding:
    running = [one for one in others if one.active and not one.paused]
    begun = f"{copy.host} still waits for the memory of {copy.name}, which no host sends"
    if running:
        return finding(
            "job-no-source",
            Grade.MEND,
            (copy.host, running[0].host),
            f"{begun}: it runs on {running[0].host}. Certain: that one is whole, this is an empty"
            " shell of a migration that broke",
            f"On {copy.host}: virsh destroy {copy.uuid}.",
            copy.name,
        )
    if silent:
        return finding(
            "vm-maybe-elsewhere",
            Grade.ALARM,
            (copy.host, *silent),
            f"{begun} (that answers). Not known: whether it runs on {listed(silent)}, which cannot"
            f" be asked. Certain: what is on {copy.host} is not whole",
            f"Bring {listed(silent)} back and examine again; destroy nothing before.",
            copy.name,
        )
    return finding(
        "job-no-source",
        Grade.MEND,
        (copy.host,),
        f"{begun} and no host of the fleet has: its source is another host, or is gone",
        f"If it does not run anywhere else: on {copy.host}: virsh destroy {copy.uuid}, then start"
        " it where its definition and disks are.",
        copy.name,
    )


def _hosts(copies: list[Copy]) -> tuple[str, ...]:
    return tuple(copy.host for copy in copies)
