"""`virt-ferry run` as a process on libvirt's test driver: one at a time, through an engine's death,
ended by a signal."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ferry import Ferry

HOSTS = '[hosts.one]\nuri = "test:///default"\n[hosts.two]\nuri = "test:///default"\n'
DRAIN = '[rules.night]\nkind = "drain"\nhost = "one"\nat = "00:00"\nuntil = "00:00"\n'


def on(tmp_path: Path, rules: str) -> Ferry:
    fleet = tmp_path / "fleet.toml"
    fleet.touch(0o600)
    fleet.write_text(HOSTS + rules)
    return Ferry(fleet, tmp_path / "state")


@pytest.fixture
def ferry(tmp_path: Path) -> Iterator[Ferry]:
    made = on(tmp_path, DRAIN)
    yield made
    made.stop()


async def test_one_at_a_time_through_an_engines_death_until_it_is_told_to_stop(
    ferry: Ferry,
) -> None:
    async with ferry.following("run") as run:
        began = await run.until(event="began")
        assert [rule["name"] for rule in began["rules"]] == ["night"]
        assert (await run.until(event="advised"))["host"] == "one"
        second = await asyncio.to_thread(ferry.run, "run", "--once")
        assert second.returncode == 2
        assert f"pid {run.process.pid}" in second.stderr
        dry = await asyncio.to_thread(ferry.run, "run", "--dry-run", "--json")
        assert dry.returncode == 0, "which touches nothing"
        assert [json.loads(line)["event"] for line in dry.stdout.splitlines()] == ["advised"]
        ferry.kill_engine()
        await run.until(event="engine-gone")
        await run.until(event="engine-back")
        run.process.send_signal(signal.SIGTERM)
        stopped = await run.until(event="stopped")
        assert stopped["running"] == []
        assert await run.ended() == 0
    assert ferry.run("run", "--once").returncode == 0, "the lock went with it"


def test_rules_are_listed_with_what_they_say(ferry: Ferry) -> None:
    said = ferry.json("rules")
    assert [line["about"] for line in said["rules"]] == ["one is emptied 00:00–00:00, every day"]
    assert "one is to be empty" in ferry.run("rules").stdout


def test_without_rules_there_is_nothing_to_run(tmp_path: Path) -> None:
    ferry = on(tmp_path, "")
    try:
        done = ferry.run("run", "--once")
        assert done.returncode == 2
        assert "has no rules" in done.stderr
        assert ferry.run("rules").stdout == "The fleet file has no rules.\n"
        assert "70000 is not a port" in ferry.run("run", "--metrics", "70000").stderr
    finally:
        ferry.stop()
