"""`history`: the migrations that have ended, and the report of one."""

import argparse
import time
from dataclasses import replace

from backend.model import Migration, Outcome, Past, PastFilter
from backend.service.client import BadInput, EngineClient, FerryError
from backend.service.protocol import (
    FleetChoice,
    GetMigration,
    ListPast,
    MigrationReply,
    PastReply,
)
from tui.commands.jobs import job_json
from tui.commands.session import clean, connected, plain, print_json, print_table, warn
from tui.render import typed, units
from tui.render.report import report_text
from tui.replay import Recording

LIMIT = 1000
WIDTH = 100
_HEADER = (
    "ID",
    "WHEN",
    "VM",
    "FROM",
    "TO",
    "MODE",
    "OUTCOME",
    "TOTAL",
    "PAUSE",
    "OUTAGE",
    "POLICY",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """ID, or what is wanted of all."""
    parser.add_argument("id", nargs="?", metavar="ID", help="one migration's report; or of a VM")
    parser.add_argument("--vm", metavar="NAME", help="of this VM only (name or UUID)")
    parser.add_argument("--host", metavar="HOST", help="from or to this host")
    parser.add_argument("--outcome", choices=[one.value for one in Outcome])
    parser.add_argument("--since", metavar="WHEN", help="2d, 12h, 02:00, 2026-11-25")
    parser.add_argument("--until", metavar="WHEN", help="the same")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help="the newest so many")


async def history(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Newest last; or one report."""
    wanted = _wanted(options)
    async with connected(choice) as client:
        if options.id is not None:
            _print_one(await recorded(client, options.id), options.json)
            return 0
        reply = await client.call(ListPast(wanted))
    assert isinstance(reply, PastReply)
    if reply.trouble:
        warn(reply.trouble)
    if options.json:
        print_json([past_json(one) for one in reply.past])
    elif reply.past:
        print_table(_HEADER, [_row(one) for one in reply.past])
    else:
        sure = wanted == PastFilter() and not reply.trouble
        print("Nothing has moved yet." if sure else "No such migration is known.")
    return 0


async def recorded(client: EngineClient, wanted: str) -> Recording:
    """A migration with its chart: by its id, or the newest of that VM. Raises FerryError."""
    try:
        reply = await client.call(GetMigration(wanted))
    except FerryError:
        newest = await client.call(ListPast(PastFilter(vm=wanted, limit=1)))
        if not isinstance(newest, PastReply) or not newest.past:
            raise
        reply = await client.call(GetMigration(newest.past[-1].id))
    assert isinstance(reply, MigrationReply)
    return Recording(reply.migration, reply.samples)


def past_json(past: Past) -> dict[str, object]:
    """A verdict's keys, and when it was."""
    return {"event": "verdict", **plain(past)}


def _wanted(options: argparse.Namespace) -> PastFilter:
    if options.limit < 1:
        raise BadInput("--limit: it must be above 0.")
    now = time.time()
    return PastFilter(
        vm=options.vm,
        host=options.host,
        outcome=Outcome(options.outcome) if options.outcome else None,
        since=_moment("--since", options.since, now),
        until=_moment("--until", options.until, now),
        limit=options.limit,
    )


def _moment(option: str, text: str | None, now: float) -> float | None:
    if text is None:
        return None
    try:
        return typed.parse_since(text, now)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _print_one(one: Recording, as_json: bool) -> None:
    m = one.migration
    if as_json:
        decisions = [plain(decision) for decision in m.decisions]
        print_json({**job_json(replace(m, sample=None)), "decisions": decisions})
        return
    _say_running(m)
    for line in report_text(one.view(one.length_s), WIDTH):
        print(clean(line))


def _say_running(m: Migration) -> None:
    if m.running:
        warn(f"{m.vm} is on its way yet: `virt-ferry watch {m.id}` follows it.")


def _row(past: Past) -> tuple[object, ...]:
    return (
        past.id,
        units.day_clock(past.started),
        past.vm,
        past.source,
        past.target,
        past.mode.value,
        past.outcome.value,
        f"{past.total_s:.1f} s",
        units.milliseconds(past.pause_ms),
        units.milliseconds(past.outage_ms),
        past.policy,
    )
