"""`history` and `export`: what they ask, print and write."""

import argparse
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from backend.model import Mode, Outcome, Past, PastFilter, past_of
from backend.service.client import BadInput, FerryError
from backend.service.protocol import (
    FleetChoice,
    GetMigration,
    ListPast,
    MigrationReply,
    PastReply,
    Reply,
    Request,
)
from tests.unit.test_export import ENDED, SAMPLES, Seen
from tui import command, recording
from tui.commands import export, history
from tui.render import typed

PAST = cast("Past", past_of(ENDED))
OLDER = replace(PAST, id="m-0", started=PAST.started - 90_000, mode=Mode.COLD, pause_ms=None)
CHOICE = FleetChoice(uris=("test:///default",))


@dataclass
class Engine:
    """Knows one ended migration."""

    asked: list[Request] = field(default_factory=list)
    past: tuple[Past, ...] = (OLDER, PAST)
    trouble: str = ""

    async def call(self, request: Request) -> Reply:
        self.asked.append(request)
        match request:
            case GetMigration(id="m-1"):
                return MigrationReply(ENDED, SAMPLES)
            case GetMigration(id="m-run"):
                return MigrationReply(replace(ENDED, id="m-run", verdict=None), SAMPLES)
            case ListPast(wanted=wanted):
                fits = tuple(one for one in self.past if wanted.vm in (None, one.vm))
                return PastReply(fits[-wanted.limit :], self.trouble)
        raise BadInput("There is no such migration.", "`virt-ferry history` lists them.")


Run = Callable[..., Any]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """In the real one's place."""
    made = Engine()

    @asynccontextmanager
    async def connected(_choice: object) -> AsyncIterator[Engine]:
        yield made

    monkeypatch.setattr(history, "connected", connected)
    monkeypatch.setattr(export, "connected", connected)
    return made


def options(*words: str) -> argparse.Namespace:
    return command._parser().parse_args(list(words))


async def run(*words: str) -> int:
    given = options(*words)
    verb = {"history": history.history, "export": export.export}[given.verb]
    return await verb(given, CHOICE)


async def test_the_table_has_the_newest_last(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("history") == 0
    header, older, newer = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["ID", "WHEN", "VM", "FROM"]
    assert older.split()[0] == "m-0"
    assert "cold" in older
    for part in ("m-1", "db-1", "kvm-a", "kvm-b", "live", "moved", "27.4 s", "84 ms", "120 ms"):
        assert part in newer


async def test_json_is_one_array_of_verdicts_and_when(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("history", "--json")
    told = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in told] == ["m-0", "m-1"]
    promised = {"event": "verdict", "vm": "db-1", "source": "kvm-a", "target": "kvm-b"}
    promised |= {"outcome": "moved", "owner": "kvm-b", "reason": "It runs on kvm-b."}
    figures = {"total_s": 27.4, "wall_s": 28.1, "pause_ms": 84, "stall_ms": None}
    figures |= {"outage_ms": 120, "sent_bytes": 420 << 20, "passes": 5, "started": ENDED.started}
    other = {"mode": "live", "policy": "balanced", "encrypted": True, "authenticated": True}
    other |= {"leftovers": ["/images/old on kvm-a: remove it"]}
    assert told[-1].items() >= {**promised, **figures}.items()
    assert {key: told[-1][key] for key in other} == other


async def test_what_is_wanted_goes_to_the_engine(engine: Engine) -> None:
    words = ("--vm", "db-1", "--host", "kvm-a", "--outcome", "stayed", "--limit", "5")
    await run("history", *words, "--since", "2026-11-24", "--until", "2026-11-25 02:00")
    (asked,) = engine.asked
    assert isinstance(asked, ListPast)
    wanted = asked.wanted
    assert (wanted.vm, wanted.host, wanted.limit) == ("db-1", "kvm-a", 5)
    assert wanted.outcome is Outcome.STAYED
    assert wanted.since is not None
    assert wanted.until == wanted.since + 26 * 3600
    await run("history")
    assert engine.asked[-1] == ListPast(PastFilter())


@pytest.mark.parametrize(
    "words", [("--since", "yesterday"), ("--until", ""), ("--limit", "0"), ("--since", "9" * 400)]
)
async def test_what_is_no_moment_is_refused(engine: Engine, words: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match=words[0]):
        await run("history", *words)
    assert not engine.asked


def test_moments_are_understood() -> None:
    noon = typed.parse_time("2026-11-24 12:00", 0.0)
    assert typed.parse_since("2d", noon) == noon - 2 * 86_400
    assert typed.parse_since("1.5h", noon) == noon - 5400
    assert typed.parse_since("30min", noon) == noon - 1800
    assert typed.parse_since("11:00", noon) == noon - 3600
    assert typed.parse_since("13:00", noon) == noon - 23 * 3600
    assert typed.parse_since("2026-11-24", noon) == noon - 12 * 3600
    assert typed.parse_since("99999w", noon) == 0.0


async def test_an_empty_history_says_so(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.past = ()
    assert await run("history") == 0
    assert capsys.readouterr().out == "Nothing has moved yet.\n"
    await run("history", "--vm", "other")
    assert capsys.readouterr().out == "No such migration is known.\n"
    engine.trouble = "The journal cannot be read (locked)."
    await run("history")
    said = capsys.readouterr()
    assert said.out == "No such migration is known.\n"
    assert said.err == "virt-ferry: The journal cannot be read (locked).\n"


@pytest.mark.parametrize("wanted", ["m-1", "db-1"])
async def test_one_is_printed_as_its_report(
    engine: Engine, capsys: pytest.CaptureFixture[str], wanted: str
) -> None:
    assert await run("history", wanted) == 0
    out = capsys.readouterr().out
    for part in (
        "✓ MOVED  to kvm-b in 27.4 s, pause 84 ms",
        "id m-1",
        "kvm-b, as seen from both ends",
        "/images/old on kvm-a: remove it",
        "84 ms of 300 ms allowed",
        "kept: /images/a on kvm-a",
        "bandwidth 20 MB/s (operator)",
    ):
        assert part in out


async def test_one_as_json_has_its_decisions(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    await run("history", "m-1", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "moved"
    assert [one["action"] for one in told["decisions"]] == ["pause-limit", "bandwidth"]


async def test_what_is_not_known_is_the_engines_sentence(engine: Engine) -> None:
    for verb in ("history", "export"):
        with pytest.raises(FerryError, match="There is no such migration"):
            await run(verb, "nope")


async def test_hostile_names_do_nothing_to_a_terminal(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.past = (replace(PAST, vm="\x1b[2J\u202e", policy="\x07"),)
    await run("history")
    assert not set(capsys.readouterr().out) & set("\x1b\x07\u202e")


async def test_an_export_writes_every_form_privately(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, text, played = (tmp_path / name for name in ("a.html", "a.md", "a.jsonl"))
    words = ("--html", str(page), "--markdown", str(text), "--recording", str(played))
    assert await run("export", "db-1", "m-1", *words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Written: {one}" for one in (page, text, played)
    ]
    for one in (page, text, played):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert "kvm-a → kvm-b" in Seen(page.read_text()).text
    assert text.read_text().startswith("# Migration report: db-1")
    (again,) = recording.read(played)
    assert (again.migration, again.samples) == (ENDED, SAMPLES)
    with pytest.raises(BadInput, match="exists and is left as it is"):
        await run("export", "m-1", "--html", str(page))
    assert await run("export", "m-1", "--html", str(page), "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"ids": ["m-1"], "files": [str(page)]}


async def test_without_a_file_it_is_printed(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("export", "m-1") == 0
    assert capsys.readouterr().out.startswith("# Migration report: db-1\n")


async def test_one_that_is_on_its_way_is_not_exported(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="db-1 is on its way yet"):
        await run("export", "m-run", "--html", str(tmp_path / "a.html"))
    assert os.listdir(tmp_path) == []


async def test_the_report_of_one_that_runs_says_how_to_follow_it(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run("history", "m-run") == 0
    assert "`virt-ferry watch m-run` follows it" in capsys.readouterr().err
