"""Records real migrations on the lab, as what the engine published: one JSON object a line.

    .venv/bin/virt-ferry lab up
    .venv/bin/python tests/recordings/record.py [SCENARIO ...]

Each line is `{"t": seconds, "change": ...}` or `{"t": seconds, "plans": [...]}` with the
protocol's own JSON. The console's tests and `screenshots/` play them; nothing in them is made up.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TextIO

import msgspec

from backend.model import MoveOptions, Plan
from backend.service.client import EngineClient
from backend.service.protocol import (
    Abort,
    Change,
    FleetChoice,
    GetFleet,
    MakePlan,
    MigrationChanged,
    PlanReply,
    SampleArrived,
    Start,
    Started,
    Watch,
)

HERE = Path(__file__).parent
LINK = "200mbit"
HOSTS = ("kvm-a", "kvm-b", "kvm-c")
AFTER_S = 5.0
LEARN_S = 35.0
"""So long the engine needs to have measured what every VM writes."""


def lab(*words: str) -> str:
    """Run a lab command."""
    command = [sys.executable, "-m", "backend.lab", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Recorder:
    """Writes what one connection receives."""

    def __init__(self, client: EngineClient, out: TextIO) -> None:
        self.client = client
        self._out = out
        self._began = time.monotonic()
        self._begun = False
        self._seen = asyncio.Condition()
        self._changes: list[Change] = []

    async def record(self) -> None:
        """Until cancelled."""
        async for change in self.client.changes():
            self._write({"change": msgspec.to_builtins(change)})
            async with self._seen:
                self._changes.append(change)
                self._seen.notify_all()

    async def plans(self, *vms: str) -> tuple[Plan, ...]:
        """Ask for plans to every target and keep the answer."""
        reply = await self.client.call(MakePlan(vms=vms))
        assert isinstance(reply, PlanReply)
        self._write({"plans": msgspec.to_builtins(reply.plans)})
        return reply.plans

    async def start(self, vm: str, target: str, policy: str | None = None) -> str:
        """Start a migration; its id."""
        reply = await self.client.call(Start((vm,), target, MoveOptions(policy=policy)))
        assert isinstance(reply, Started), reply
        return reply.migrations[0].id

    async def until(self, happened: Callable[[Change], bool]) -> None:
        """Wait for a change."""
        async with self._seen:
            await self._seen.wait_for(lambda: any(happened(c) for c in self._changes))

    async def verdict(self, *ids: str) -> None:
        """Wait until all have one, and a little longer."""
        for migration_id in ids:
            await self.until(
                lambda c, wanted=migration_id: (  # type: ignore[misc]
                    isinstance(c, MigrationChanged)
                    and c.migration.id == wanted
                    and c.migration.verdict is not None
                )
            )
        await asyncio.sleep(AFTER_S)

    def _write(self, fields: dict[str, object]) -> None:
        t = round(time.monotonic() - self._began, 3)
        epoch = {} if self._begun else {"epoch": round(time.time() - t, 3)}
        self._begun = True
        self._out.write(json.dumps({"t": t, **epoch, **fields}) + "\n")


def host_of(vm: str) -> str:
    """Where a VM is now."""
    status = json.loads(lab("status", "--json"))
    return next(str(one["host"]) for one in status["vms"] if one["name"] == vm)


def other_than(*hosts: str) -> str:
    """A host that is none of these."""
    return next(host for host in HOSTS if host not in hosts)


async def idle(recorder: Recorder) -> None:
    """Nothing moves; plans are looked at."""
    for vms in (("web-1",), ("db-1",), ("web-1", "db-1"), ("files-1",), ("shared-1",), ("cpu-1",)):
        await recorder.plans(*vms)
    await asyncio.sleep(20)


async def move(recorder: Recorder, *vms: str) -> None:
    """The first VM to another host, to the end; plans of it, and of all."""
    vm = vms[0]
    await asyncio.sleep(2)
    await recorder.plans(vm)
    await recorder.plans(*vms)
    await recorder.verdict(await recorder.start(vm, other_than(host_of(vm))))


async def abort_when_hopeless(recorder: Recorder) -> None:
    """cache-1 writes more than the link takes and may not be slowed; aborted in its fifth pass."""
    await recorder.plans("cache-1")
    started = await recorder.start("cache-1", other_than(host_of("cache-1")), "gentle")
    await recorder.until(lambda c: isinstance(c, SampleArrived) and c.sample.pass_number >= 6)
    await recorder.client.call(Abort(started))
    await recorder.verdict(started)


async def two_at_once(recorder: Recorder) -> None:
    """web-1 and db-1 from two sources to the third host."""
    one, two = host_of("web-1"), host_of("db-1")
    if one == two:
        await recorder.verdict(await recorder.start("db-1", other_than(one)))
        two = host_of("db-1")
    target = other_than(one, two)
    await recorder.plans("web-1", "db-1")
    ids = [await recorder.start("web-1", target), await recorder.start("db-1", target)]
    await recorder.verdict(*ids)


async def host_cut(recorder: Recorder) -> None:
    """kvm-c loses its link for a while."""
    await asyncio.sleep(AFTER_S)
    await asyncio.to_thread(lab, "link", "kvm-c", "down")
    await asyncio.sleep(30)
    await asyncio.to_thread(lab, "link", "kvm-c", "up")
    await asyncio.sleep(15)


SCENARIOS: dict[str, Callable[[Recorder], Awaitable[None]]] = {
    "idle": idle,
    "web": lambda recorder: move(recorder, "web-1"),
    "db": lambda recorder: move(recorder, "db-1", "files-1"),
    "cache-abort": abort_when_hopeless,
    "two-at-once": two_at_once,
    "host-cut": host_cut,
}
QUIET_EXCEPT = {"web": "web-1", "db": "db-1", "cache-abort": "cache-1"}


async def record(name: str, fleet: str) -> None:
    """One scenario to its file."""
    lab("up")
    for host in HOSTS:
        lab("link", host, LINK)
    for vm, rate, over in (("web-1", "5MB/s", "100M"), ("db-1", "20MB/s", "200M")):
        lab("vm", vm, "--write", rate, "--over", over)
    lab("vm", "cache-1", "--write", "60MB/s", "--over", "200M")
    if name in QUIET_EXCEPT:
        lab("quiet", "--except", QUIET_EXCEPT[name])
    client = await EngineClient.connect(FleetChoice(path=fleet))
    await client.call(GetFleet(settle_s=10))
    await asyncio.sleep(LEARN_S)
    with (HERE / f"{name}.jsonl").open("w") as out:
        recorder = Recorder(client, out)
        await client.call(Watch(samples_of=("*",)))
        recording = asyncio.create_task(recorder.record())
        await SCENARIOS[name](recorder)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    await client.close()
    print(f"{name}: {(HERE / f'{name}.jsonl').stat().st_size:,} bytes")


async def main(names: list[str]) -> None:
    """Record the named scenarios, or all."""
    lab("up")
    fleet = json.loads(lab("status", "--json"))["fleet"]
    for name in names or list(SCENARIOS):
        await record(name, fleet)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
