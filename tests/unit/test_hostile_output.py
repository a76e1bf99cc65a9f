"""The command line and the log with names that mean harm: one line stays one line, and harmless."""

import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backend.errors import FerryError, plain, shown
from backend.model import FleetSnapshot, Job
from backend.plan.policy import BUILT_IN
from backend.service.__main__ import SafeFormatter
from backend.service.protocol import (
    Change,
    EngineReply,
    FleetChanged,
    FleetReply,
    GetEngine,
    GetFleet,
    GetMigration,
    ListMigrations,
    ListPolicies,
    MakePlan,
    MigrationChanged,
    MigrationReply,
    MigrationsReply,
    PlanReply,
    PoliciesReply,
    Refused,
    Reply,
    Request,
    Start,
)
from tests.console.recorded import load
from tests.hostile import ALL_AT_ONCE, obeyed, spoilt, texts
from tui import command
from tui.commands import engine, fleet, follow, jobs, moves, session, steer
from tui.render import ink


class Link:
    """An engine whose every name and text means harm."""

    def __init__(self) -> None:
        entries = load("cache-abort")
        self.published = [one.change for one in entries if one.change is not None]
        first = self.published[0]
        assert isinstance(first, FleetChanged)
        busy = tuple(replace(vm, job=Job("save")) for vm in first.vms)
        self.fleet = FleetSnapshot("lab", first.hosts, busy)
        self.plans = next(one.plans for one in entries if one.plans)
        changes = [one for one in self.published if isinstance(one, MigrationChanged)]
        self.last = changes[-1].migration

    async def call(self, request: Request) -> Reply:
        return spoilt(self._reply(request), lambda text: ALL_AT_ONCE + text)

    def _reply(self, request: Request) -> Reply:
        match request:
            case GetFleet():
                return FleetReply(self.fleet)
            case MakePlan():
                return PlanReply(self.plans)
            case Start():
                return Refused(self.plans)
            case ListMigrations():
                return MigrationsReply((self.last, replace(self.last, verdict=None)))
            case GetMigration():
                return MigrationReply(self.last, ())
            case ListPolicies():
                return PoliciesReply(BUILT_IN)
            case GetEngine():
                return EngineReply(1, "1", 0.0, 1, 0, ("lab", "other"))
        raise FerryError(ALL_AT_ONCE, ALL_AT_ONCE)

    async def changes(self) -> AsyncIterator[Change]:
        for change in self.published:
            yield spoilt(change, lambda text: ALL_AT_ONCE + text)

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def link(monkeypatch: pytest.MonkeyPatch) -> Link:
    found = Link()

    @asynccontextmanager
    async def connected(*_: Any, **__: Any) -> AsyncIterator[Link]:
        yield found

    for verb in (fleet, jobs, moves, steer, engine):
        monkeypatch.setattr(verb, "connected", connected)
    return found


VERBS = (
    ["hosts"],
    ["vms"],
    ["plan", "db-1"],
    ["migrate", "db-1", "--to", "kvm-b"],
    ["jobs"],
    ["policies"],
    ["watch", "x"],
    ["abort", "x"],
    ["steer", "x", "--pause-ms", "9"],
    ["engine", "status"],
)


def harmless(printed: str) -> None:
    """A name's own line break has begun no line, and nothing in it is obeyed."""
    for one in printed.split("\n"):
        assert obeyed(one) == []
        assert not one.startswith(("\t", "[2J", "]0;"))
    assert "\x1b" not in printed


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_text_for_people_is_harmless(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.main(verb)
    printed = capsys.readouterr()
    assert printed.out + printed.err
    harmless(printed.out)
    harmless(printed.err)


@pytest.mark.parametrize("verb", VERBS[:-1], ids=lambda verb: verb[0])
def test_json_is_one_object_a_line(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command.main([*verb, "--json"])
    printed = capsys.readouterr()
    harmless(printed.out)
    harmless(printed.err)
    for one in printed.out.splitlines():
        json.loads(one)
        assert ALL_AT_ONCE in _strings(json.loads(one))


def _strings(thing: object) -> str:
    """All texts of a JSON value, one after the other."""
    if isinstance(thing, dict):
        return "".join(map(_strings, thing.values()))
    if isinstance(thing, list):
        return "".join(map(_strings, thing))
    return str(thing)


def test_what_happens_is_told_line_by_line(link: Link, capsys: pytest.CaptureFixture[str]) -> None:
    migration = spoilt(link.last, lambda text: ALL_AT_ONCE + text)
    for as_json in (False, True):
        follower = follow.Follower([migration], as_json=as_json)
        follower.foretell([migration])
        for change in link.published:
            follower.take(spoilt(change, lambda text: ALL_AT_ONCE + text))
        printed = capsys.readouterr().out
        assert printed
        harmless(printed)


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_a_table_has_a_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        session.print_table(("A", "B"), list(rows))
    lines = out.getvalue().split("\n")
    assert len(lines) == len(rows) + 2
    harmless(out.getvalue())
    cells = [("A", "B"), *((session.clean(a), session.clean(b)) for a, b in rows)]
    widest = max(cell_len(a) for a, _ in cells)
    for one, (a, b) in zip(lines, cells, strict=False):
        assert one == f"{a}{' ' * (widest - cell_len(a))}  {b}".rstrip()


@given(texts)
def test_every_cleaner_leaves_nothing_to_obey(text: str) -> None:
    for clean in (ink.clean, session.clean, plain, shown, command._one_line):
        assert obeyed(clean(text)) == []
        assert "\n" not in clean(text)


@given(texts, texts)
def test_a_log_record_is_one_line(name: str, text: str) -> None:
    record = logging.LogRecord("ferry", logging.WARNING, "x", 1, "%s: %s", (name, text), None)
    line = SafeFormatter("%(levelname)s %(message)s").format(record)
    assert obeyed(line) == []
    assert "\n" not in line


@given(texts)
def test_a_logged_fault_stays_in_its_lines(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
        record = logging.LogRecord("ferry", logging.ERROR, "x", 1, "at %s", (text,), info)
    for line in SafeFormatter("%(message)s").format(record).split("\n"):
        assert obeyed(line) == []


def test_the_log_holds_no_password() -> None:
    said = ("qemu+tcp://root:hunter2@kvm-a/system",)
    record = logging.LogRecord("ferry", logging.ERROR, "x", 1, "opening %s", said, None)
    assert "hunter2" not in SafeFormatter("%(message)s").format(record)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine cannot be reached, and says so in the worst words."""

    @asynccontextmanager
    async def connected(*_: Any, **__: Any) -> AsyncIterator[None]:
        raise FerryError(ALL_AT_ONCE, ALL_AT_ONCE)
        yield

    monkeypatch.setattr(fleet, "connected", connected)


@pytest.mark.usefixtures("failing")
def test_an_error_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["hosts"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    harmless(printed)


def test_a_wrong_option_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([ALL_AT_ONCE.replace("\x00", "")])
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    harmless(printed)
