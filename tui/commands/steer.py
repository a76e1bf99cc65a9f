"""`steer` and `policies`: what an operator can do to a running migration, and what to choose from.

One verb for all controls; each goes to the engine as it is and is refused there with its reason.
"""

import argparse

from backend.model import Control, Migration, Policy
from backend.service.client import BadInput
from backend.service.protocol import (
    FleetChoice,
    GetMigration,
    ListPolicies,
    MigrationReply,
    Operate,
    PoliciesReply,
    Request,
    SetBandwidth,
    SetPauseLimit,
)
from tui.commands.jobs import job_json
from tui.commands.session import clean, connected, plain, print_json, print_table
from tui.render import units
from tui.render.controls import why_not

CONTROLS = (
    Control.POST_COPY,
    Control.SUSPEND,
    Control.HOLD,
    Control.SWITCH,
    Control.RECOVER,
)
BRIEF = "changes a running migration: limits, post-copy, suspend, hold, switch, recover"
ABOUT = (
    "changes a running migration: its limits, or post-copy (the VM runs at the target and fetches"
    " the rest: no way back; it stands still if the link breaks, and is lost if a host dies then),"
    " suspend (the VM stands still until it has moved), hold (it waits before the switchover),"
    " switch (ends a hold), recover (goes on with a post-copy that broke)"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """ID, a control, limits."""
    parser.description = ABOUT
    parser.add_argument("id", metavar="ID", help="a migration's id, or the name of its VM")
    names = [control.value for control in CONTROLS]
    parser.add_argument("control", nargs="?", choices=names, help=" · ".join(names))
    parser.add_argument("--bandwidth", metavar="RATE", help="at most this, e.g. 50MB/s; or none")
    parser.add_argument("--pause-ms", type=int, metavar="N", help="the longest pause allowed")


async def steer(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Do it; 0 once the engine has done it, 2 when it refuses."""
    async with connected(choice) as client:
        migration = _migration(await client.call(GetMigration(options.id)))
        for request, said in _requests(options, migration):
            await client.call(request)
            if not options.json:
                print(clean(f"{migration.vm}: {said}"))
        if options.json:
            print_json(job_json(_migration(await client.call(GetMigration(migration.id)))))
    return 0


async def policies(options: argparse.Namespace, choice: FleetChoice) -> int:
    """All that --policy takes, those of the fleet file last."""
    async with connected(choice) as client:
        reply = await client.call(ListPolicies())
    assert isinstance(reply, PoliciesReply)
    if options.json:
        print_json([plain(policy) for policy in reply.policies])
        return 0
    header = ("NAME", "PAUSE", "DEADLINE", "THROTTLE", "POST-COPY", "SUSPEND", "ABOUT")
    print_table(header, [_row(policy) for policy in reply.policies])
    return 0


def _migration(reply: object) -> Migration:
    assert isinstance(reply, MigrationReply)
    return reply.migration


def _requests(options: argparse.Namespace, migration: Migration) -> list[tuple[Request, str]]:
    found: list[tuple[Request, str]] = []
    if options.bandwidth is not None:
        try:
            rate = units.parse_rate(options.bandwidth)
        except ValueError as error:
            raise BadInput(f"--bandwidth: {error}") from None
        said = f"at most {units.rate(rate)}" if rate else "unlimited"
        found.append((SetBandwidth(migration.id, rate), f"bandwidth {said}"))
    if options.pause_ms is not None:
        pause_ms = options.pause_ms
        found.append((SetPauseLimit(migration.id, pause_ms), f"pause limit {pause_ms} ms"))
    if options.control is not None:
        control = Control(options.control)
        if reason := why_not(migration, control):
            raise BadInput(reason)
        found.append((Operate(migration.id, control), f"{control.value}, as asked"))
    if not found:
        raise BadInput("steer what?", "Name a control, --bandwidth or --pause-ms; see --help.")
    return found


def _row(policy: Policy) -> tuple[object, ...]:
    return (
        policy.name,
        f"{policy.pause_ms:,} ms",
        _deadline(policy),
        f"{policy.throttle_percent} %" if policy.throttle_percent else "never",
        "yes" if policy.post_copy else "no",
        "yes" if policy.suspend else "no",
        policy.about,
    )


def _deadline(policy: Policy) -> str:
    parts = [units.duration(policy.deadline_s)] * (policy.deadline_s is not None)
    if policy.deadline_s_per_gib is not None:
        parts.append(f"{units.duration(policy.deadline_s_per_gib)}/GiB")
    return ", ".join(parts) or "none"
