"""`jobs`, `watch`, `abort` and `recover`: migrations that run or ran in this engine."""

import argparse
from dataclasses import fields

from backend.model import Control, Migration, Verdict
from backend.service.client import BadInput
from backend.service.protocol import (
    Abort,
    FleetChoice,
    GetMigration,
    ListMigrations,
    MigrationReply,
    MigrationsReply,
    Operate,
    Watch,
)
from tui.commands.follow import Follower
from tui.commands.moves import follow
from tui.commands.session import clean, connected, plain, print_json, print_table
from tui.render import units


async def jobs(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Newest last."""
    async with connected(choice) as client:
        reply = await client.call(ListMigrations(running_only=options.running))
    assert isinstance(reply, MigrationsReply)
    if options.json:
        print_json([job_json(migration) for migration in reply.migrations])
    elif reply.migrations:
        print_table(
            ("ID", "VM", "FROM", "TO", "STARTED", "STATE"),
            [_row(migration) for migration in reply.migrations],
        )
    else:
        print("No migrations since the engine began.")
    return 0


async def watch(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Follow one to its verdict (at once, if it has ended)."""
    async with connected(choice) as client:
        reply = await client.call(GetMigration(options.id))
        assert isinstance(reply, MigrationReply)
        migration = reply.migration
        follower = Follower([migration], as_json=options.json)
        await client.call(Watch(fleet=False, migrations=True, samples_of=(migration.id,)))
        return await follow(client, follower)


async def abort(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Ask for the abort, then wait for the verdict: 0 when the VM stayed as asked."""
    async with connected(choice) as client:
        reply = await client.call(GetMigration(options.id))
        assert isinstance(reply, MigrationReply)
        migration = reply.migration
        if not migration.running and Control.ABORT not in migration.controls:
            raise BadInput(f"Migration {migration.id} of {clean(migration.vm)} has ended.")
        await client.call(Watch(fleet=False, migrations=True))
        await client.call(Abort(migration.id))
        code = await follow(client, Follower([migration], as_json=options.json))
    return {0: 1, 1: 0}.get(code, code)


async def recover(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Go on with a post-copy whose stream broke, and follow it to its verdict."""
    async with connected(choice) as client:
        reply = await client.call(GetMigration(options.id))
        assert isinstance(reply, MigrationReply)
        migration = reply.migration
        if not migration.running:
            raise BadInput(f"Migration {migration.id} of {clean(migration.vm)} has ended.")
        await client.call(Watch(fleet=False, migrations=True, samples_of=(migration.id,)))
        await client.call(Operate(migration.id, Control.RECOVER))
        return await follow(client, Follower([migration], as_json=options.json))


def job_json(migration: Migration) -> dict[str, object]:
    """The keys of a verdict, None where a running one has none yet, plus what it does now."""
    verdict = migration.verdict
    known = (
        plain(verdict)
        if verdict
        else {
            "id": migration.id,
            "vm": migration.vm,
            "source": migration.source,
            "target": migration.target,
            "mode": migration.mode,
            "policy": migration.policy.name,
            "encrypted": migration.encrypted,
            "authenticated": migration.encrypted,
            "leftovers": [],
        }
    )
    return {
        "event": "verdict" if verdict else "job",
        **dict.fromkeys(field.name for field in fields(Verdict)),
        **known,
        "started": migration.started,
        "phase": migration.phase.value,
        "sample": plain(migration.sample),
        "outlook": plain(migration.outlook),
        "recoverable": migration.recoverable,
        "foreign": migration.foreign,
    }


def _row(migration: Migration) -> tuple[object, ...]:
    if migration.verdict is not None:
        state = f"{migration.verdict.outcome.value}: {migration.verdict.reason}"
    else:
        state = migration.outlook.word.value.lower() if migration.outlook else "starting"
    state += " (begun by somebody else)" * (migration.foreign and migration.running)
    started = units.clock(migration.started)
    return (migration.id, migration.vm, migration.source, migration.target, started, state)
