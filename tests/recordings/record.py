"""Records real migrations on the lab, as what the engine published: one JSON object a line.

    .venv/bin/virt-ferry lab up
    .venv/bin/python tests/recordings/record.py [SCENARIO ...]

Each line is `{"t": seconds, "change": ...}`, `{"t": seconds, "plans": [...]}` or `{"t": seconds,
"reply": ...}` with the protocol's own JSON, all of it packed by gzip. The console's tests and
`screenshots/` play them; nothing in them is made up. The lab is that of VIRT_FERRY_LAB.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend.model import Evacuation, EvacuationWish, MoveState, RollState, RollWish
from backend.service.client import EngineClient
from backend.service.protocol import (
    Abort,
    AdviceChanged,
    Change,
    EvacuationChanged,
    EvacuationReply,
    Examine,
    Examined,
    FleetChoice,
    GetFleet,
    PlanEvacuation,
    RollChanged,
    RollReply,
    SampleArrived,
    SetMaintenance,
    StartEvacuation,
    StartRoll,
    Watch,
)
from tests.recordings.recorder import (
    AFTER_S,
    HOSTS,
    Recorder,
    fill,
    folder_of,
    host_of,
    lab,
    other_than,
    virsh,
)

HERE = Path(__file__).parent
LINK = "200mbit"
SOURCE = "kvm-b"
"""The host that is emptied."""
GATHERED = ("idle-1", "web-1", "cache-1", "files-1", "batch-1", "db-1")
"""The VMs on it, the last one tagged to stay."""
KEY = ("--uri", "urn:virt-ferry:1", "--key", "ferry", "--live", "--config")
LEARN_S = 35.0
"""So long the engine needs to have measured what every VM writes."""


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


async def cold_move(recorder: Recorder) -> None:
    """batch-1, shut off, its image with some data in it, to another host."""
    source = host_of("batch-1")
    await asyncio.to_thread(fill, source, "batch-1", 240)
    await recorder.plans("batch-1")
    await recorder.verdict(await recorder.start("batch-1", other_than(source)))


async def reviewed_and_started(recorder: Recorder, wish: EvacuationWish) -> Evacuation:
    """Planned until all can go that may, then started as it was shown."""
    while True:
        planned = await recorder.client.call(PlanEvacuation(wish, True))
        assert isinstance(planned, EvacuationReply), planned
        goes = planned.evacuation.in_state(MoveState.WAITING)
        known = [move for move in goes if move.forecast and move.forecast.total_s]
        if len(known) < len(GATHERED) - 1:
            continue
        recorder.note(planned)
        pinned = replace(wish, choices=planned.evacuation.pinned)
        started = await recorder.client.call(StartEvacuation(pinned))
        assert isinstance(started, EvacuationReply), started
        if not started.evacuation.changed:
            return started.evacuation


async def evacuation(recorder: Recorder) -> None:
    """kvm-b is emptied: live, with a local disk, shut off, tagged to stay; then the fleet is
    examined, with what that left at the source and a pause limit of a stranger's."""
    await asyncio.sleep(AFTER_S)
    started = await reviewed_and_started(recorder, EvacuationWish(SOURCE))
    id = started.id
    await recorder.until(
        lambda c: (
            isinstance(c, EvacuationChanged)
            and c.evacuation.id == id
            and c.evacuation.ended is not None
        )
    )
    await asyncio.sleep(AFTER_S)
    virsh(host_of("idle-1"), "migrate-setmaxdowntime", "idle-1", "777")
    examined = await recorder.client.call(Examine())
    assert isinstance(examined, Examined), examined
    recorder.note(examined)
    virsh(host_of("idle-1"), "migrate-setmaxdowntime", "idle-1", "300")
    virsh(SOURCE, "metadata", "db-1", *KEY, "--remove")
    await recorder.client.call(SetMaintenance(SOURCE, False))


ROLLED = ("kvm-b", "kvm-a")
NEW_FIRMWARE = "/var/lib/libvirt/new-firmware"
HOOK = f"sleep 5; test -e {NEW_FIRMWARE} || {{ echo 'the firmware is too old' >&2; exit 4; }}"


async def roll(recorder: Recorder) -> None:
    """Two hosts are worked on; the hook of the second one fails, and it stops there."""

    def stopped(change: Change) -> bool:
        return isinstance(change, RollChanged) and change.roll.state is RollState.STOPPED

    (folder_of(ROLLED[0]) / "lib" / Path(NEW_FIRMWARE).name).touch()
    await asyncio.sleep(AFTER_S)
    started = await recorder.client.call(StartRoll(RollWish(ROLLED, HOOK)))
    assert isinstance(started, RollReply), started
    recorder.note(started)
    await recorder.until(stopped)
    await asyncio.sleep(AFTER_S)


RULES = """
[rules.home]
kind = "follow"

[rules.even]
kind = "balance"
measure = "cpu"
above_percent = 90
"""
"""Of the fleet in which something is advised."""


async def advice(recorder: Recorder) -> None:
    """A rule says where a VM wants to be, and what moving it takes."""

    def with_forecast(change: Change) -> bool:
        moves = [m for a in change.advising.advice for m in a.moves] if _advises(change) else []
        return any(move.forecast is not None for move in moves)

    await recorder.until(with_forecast)
    await asyncio.sleep(AFTER_S)
    virsh(host_of("web-1"), "metadata", "web-1", *KEY, "--remove")


def _advises(change: Change) -> TypeGuard[AdviceChanged]:
    return isinstance(change, AdviceChanged)


def web_wants_elsewhere(_fleet: str) -> None:
    """web-1 prefers a host that it is not on."""
    home = host_of("web-1")
    prefers = f'<vm prefer="{other_than(home)}"/>'
    virsh(home, "metadata", "web-1", *KEY, "--set", prefers)


def gather_on_source(fleet: str) -> None:
    """Six VMs on the host that is emptied, one of them tagged to stay; the links as they are to
    be."""
    for vm in GATHERED:
        if host_of(vm) != SOURCE:
            move = ("migrate", vm, "--to", SOURCE, "--policy", "must-finish", "--remove-source")
            command = [sys.executable, "-m", "tui.command", "--fleet", fleet, *move]
            subprocess.run(command, check=True, capture_output=True)
    lab("link", SOURCE, "400mbit")
    virsh(SOURCE, "metadata", "db-1", *KEY, "--set", '<vm never="yes"/>')


SCENARIOS: dict[str, Callable[[Recorder], Awaitable[None]]] = {
    "idle": idle,
    "web": lambda recorder: move(recorder, "web-1"),
    "db": lambda recorder: move(recorder, "db-1", "files-1"),
    "cache-abort": abort_when_hopeless,
    "two-at-once": two_at_once,
    "host-cut": host_cut,
    "cold": cold_move,
    "evacuation": evacuation,
    "roll": roll,
    "advice": advice,
}
PREPARED: dict[str, Callable[[str], None]] = {
    "evacuation": gather_on_source,
    "advice": web_wants_elsewhere,
}
QUIET = ("cold",)
WITH_RULES = ("advice",)
QUIET_EXCEPT = {
    "evacuation": "web-1",
    "roll": "web-1",
    "advice": "web-1",
    "web": "web-1",
    "db": "db-1",
    "cache-abort": "cache-1",
}


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
    if name in QUIET:
        lab("quiet")
    if name in PREPARED:
        PREPARED[name](fleet)
    client = await EngineClient.connect(FleetChoice(path=fleet))
    await client.call(GetFleet(settle_s=10))
    await asyncio.sleep(LEARN_S)
    recorder = Recorder(client)
    await client.call(Watch(samples_of=("*",)))
    recording = asyncio.create_task(recorder.record())
    await SCENARIOS[name](recorder)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await client.close()
    content = recorder.packed()
    (HERE / f"{name}.jsonl.gz").write_bytes(content)
    print(f"{name}: {len(content):,} bytes")


def called_lab(fleet: Path, rules: str = "") -> str:
    """A fleet file like the lab's, under a name that every picture can show."""
    named = fleet.with_name("recorded-rules.toml" if rules else "recorded.toml")
    lines = fleet.read_text().splitlines()
    lines = ['name = "lab"' if one.startswith("name") else one for one in lines]
    named.write_text("\n".join(lines) + "\n" + rules)
    return str(named)


@contextmanager
def engine_of_its_own() -> Iterator[None]:
    """One that knows of nothing from before."""
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory(prefix="vf-record-") as state:
        os.environ["XDG_STATE_HOME"] = state
        try:
            yield
        finally:
            stop = [sys.executable, "-m", "tui.command", "engine", "stop"]
            subprocess.run(stop, check=True, capture_output=True)
            del os.environ["XDG_STATE_HOME"]
            if before is not None:
                os.environ["XDG_STATE_HOME"] = before


async def main(names: list[str]) -> None:
    """Record the named scenarios, or all."""
    lab("up")
    fleet = Path(json.loads(lab("status", "--json"))["fleet"])
    for name in names or list(SCENARIOS):
        with engine_of_its_own():
            await record(name, called_lab(fleet, RULES if name in WITH_RULES else ""))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
