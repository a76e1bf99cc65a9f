"""A roll step by step: its evacuations and returns written down, its hooks real commands here."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from backend.errors import BadInput
from backend.model import (
    Evacuation,
    EvacuationControl,
    EvacuationKind,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    FleetSnapshot,
    Host,
    HostState,
    MoveState,
    Roll,
    RollControl,
    RollHost,
    RollState,
    RollStep,
    RollWish,
    Vm,
    VmState,
    Way,
)
from backend.plan import roll_course as course
from backend.remote.shell import LocalShell, Shell
from backend.run import roll_run, roll_steps
from backend.run.roll_kit import RollKit
from backend.run.roll_run import RollRun

HOMES = {"web": "kvm-a", "db": "kvm-a", "dns": "kvm-b"}


@dataclass
class Watch:
    """A host that is up, and looked at again and again."""

    host: Host
    count: int = 0
    shell: Shell | None = field(default_factory=LocalShell)

    @property
    def looks(self) -> int:
        self.count += 1
        return self.count


@dataclass
class World:
    """Where each VM is, and runs that move them as soon as they are told to go on."""

    places: dict[str, str] = field(default_factory=lambda: dict(HOMES))
    away: dict[str, str] = field(default_factory=dict)
    """VM -> home."""
    maintenance: set[str] = field(default_factory=set)
    runs: dict[str, Evacuation] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    stuck: set[str] = field(default_factory=set)
    """VMs that stay."""
    held: bool = False
    """Runs begin, and do not end by themselves."""
    kept: list[Roll] = field(default_factory=list)
    told: Callable[[Evacuation], None] = lambda run: None
    watches: dict[str, Watch] = field(
        default_factory=lambda: {
            name: Watch(Host(name, HostState.UP)) for name in ("kvm-a", "kvm-b", "kvm-c")
        }
    )

    @property
    def known(self) -> tuple[Evacuation, ...]:
        return tuple(self.runs.values())

    @property
    def fleet(self) -> FleetSnapshot:
        vms = (Vm(f"id-{n}", n, place, VmState.RUNNING) for n, place in self.places.items())
        return FleetSnapshot("f", tuple(w.host for w in self.watches.values()), tuple(vms))

    async def plan(self, wish: EvacuationWish, *, fresh: bool) -> Evacuation:
        leaves = wish.kind is EvacuationKind.EVACUATE
        names = [
            name
            for name, place in self.places.items()
            if (place == wish.host if leaves else self.away.get(name) == wish.host)
        ]
        left = {one.uuid for one in wish.choices if one.leave}
        moves = tuple(self._move(name, wish.host, leaves, f"id-{name}" in left) for name in names)
        return Evacuation(f"e{len(self.runs) + 1}", wish, moves=moves)

    def _move(self, name: str, host: str, leaves: bool, left: bool) -> EvacuationMove:
        target = "kvm-c" if leaves else host
        state = MoveState.LEFT_OUT if left else MoveState.WAITING
        return EvacuationMove(
            name, f"id-{name}", self.places[name], Way.LIVE, None if left else target, state=state
        )

    async def start(self, wish: EvacuationWish) -> Evacuation:
        planned = await self.plan(wish, fresh=True)
        await self.set_maintenance(wish.host, wish.kind is EvacuationKind.EVACUATE)
        self.done.append(f"{wish.kind} {wish.host}")
        run = replace(planned, state=EvacuationState.RUNNING, started=1e12)
        self.runs[run.id] = run
        if not self.held:
            self.finish(run.id)
        return run

    def finish(self, id: str) -> None:
        """All its moves end."""
        run = self.runs[id]
        moves = tuple(map(self._ended, run.moves))
        self.runs[id] = replace(run, state=EvacuationState.ENDED, moves=moves)
        self.told(self.runs[id])

    def _ended(self, move: EvacuationMove) -> EvacuationMove:
        if move.state is not MoveState.WAITING:
            return move
        if move.vm in self.stuck:
            return replace(move, state=MoveState.STAYED, reason="the link broke")
        home = self.places[move.vm]
        self.places[move.vm] = move.target or ""
        if HOMES[move.vm] == move.target:
            self.away.pop(move.vm)
        else:
            self.away[move.vm] = home
        return replace(move, state=MoveState.MOVED)

    async def control(self, wanted: str, control: EvacuationControl, uuid: str | None) -> None:
        self.done.append(f"{control} {wanted}")
        state = {
            EvacuationControl.PAUSE: EvacuationState.PAUSED,
            EvacuationControl.RESUME: EvacuationState.RUNNING,
        }.get(control)
        if state is None:
            self.stuck |= set(self.places)
            self.finish(wanted)
        else:
            self.runs[wanted] = replace(self.runs[wanted], state=state)

    async def set_maintenance(self, host: str, on: bool) -> None:
        (self.maintenance.add if on else self.maintenance.discard)(host)

    async def keep(self, roll: Roll) -> bool:
        self.kept.append(roll)
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_run, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(roll_steps, "LOOK_S", 0.01)
    monkeypatch.setattr(roll_steps, "SEEN_S", 0.1)
    monkeypatch.setattr(roll_steps, "CHECK_S", 0.05)


@dataclass
class Rolling:
    """A roll, and waiting for how it stands."""

    world: World
    run: RollRun
    changed: asyncio.Event

    async def until(self, *states: RollState) -> Roll:
        return await self.so(lambda roll: roll.state in states and not self.run.busy)

    async def so(self, wanted: Callable[[Roll], bool]) -> Roll:
        async with asyncio.timeout(10):
            while not wanted(self.run.roll):
                self.changed.clear()
                if not wanted(self.run.roll):
                    try:
                        async with asyncio.timeout(0.05):
                            await self.changed.wait()
                    except TimeoutError:
                        continue
        return self.run.roll


@asynccontextmanager
async def rolling(world: World, roll: Roll) -> AsyncIterator[Rolling]:
    changed = asyncio.Event()
    kit = RollKit(
        world,
        lambda: world.fleet,
        lambda name: world.watches[name],
        lambda: world.maintenance,
        world.keep,
        lambda roll: changed.set(),
        time.time,
    )
    run = RollRun(roll, kit)
    world.told = run.saw
    if roll.state is RollState.RUNNING:
        run.begin()
    try:
        yield Rolling(world, run, changed)
    finally:
        await run.close()


def roll_of(hook: str, **wished: object) -> Roll:
    hosts = ("kvm-a", "kvm-b")
    wish = RollWish(hosts, hook, 5.0, 1.0, **wished)  # type: ignore[arg-type]
    states = tuple(map(RollHost, hosts))
    return Roll("r1", wish, RollState.RUNNING, states, started=1.0)


def hooks(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


async def test_each_host_is_emptied_worked_on_and_filled_before_the_next(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "log"
    world.away["dns"] = "kvm-z"  # another run's: it left somewhere else, and is nobody's here
    async with rolling(world, roll_of(f"echo ran >>{log}")) as r:
        roll = await r.until(RollState.ENDED)
    assert (roll.exit_code, roll.trouble) == (0, "")
    assert world.done == [
        "evacuate kvm-a",
        "return kvm-a",
        "evacuate kvm-b",
        "return kvm-b",
    ]
    assert hooks(log) == ["ran", "ran"]
    assert (world.places, world.maintenance) == (HOMES, set())
    assert all(one.hook is not None and one.hook.exit_status == 0 for one in roll.hosts)
    assert world.kept[-1] == roll


async def test_a_failing_hook_stops_it_and_the_next_host_is_not_touched(tmp_path: Path) -> None:
    world, mended = World(), tmp_path / "mended"
    async with rolling(world, roll_of(f"test -e {mended} || {{ echo not yet; exit 3; }}")) as r:
        roll = await r.until(RollState.STOPPED)
        assert "The hook on kvm-a ended with exit code 3" in roll.trouble
        assert "not yet" in roll.trouble
        assert "Not begun: kvm-b" in roll.trouble
        assert (world.done, world.maintenance) == (["evacuate kvm-a"], {"kvm-a"})
        assert world.places == {"web": "kvm-c", "db": "kvm-c", "dns": "kvm-b"}
        mended.touch()
        await r.run.control(RollControl.RESUME)
        roll = await r.until(RollState.ENDED)
    assert roll.exit_code == 0
    assert world.done[:3] == ["evacuate kvm-a", "return kvm-a", "evacuate kvm-b"]
    assert world.places == HOMES


async def test_a_hook_can_be_left_out(tmp_path: Path) -> None:
    world = World()
    async with rolling(world, roll_of("exit 3")) as r:
        await r.until(RollState.STOPPED)
        await r.run.control(RollControl.SKIP)
        roll = await r.until(RollState.STOPPED)
        assert roll.current is not None
        assert roll.current.host == "kvm-b"
        assert world.places["web"] == world.places["db"] == "kvm-a"
        await r.run.control(RollControl.SKIP)
        with pytest.raises(BadInput, match="goes on already"):
            await r.run.control(RollControl.RESUME)


async def test_a_vm_that_stays_stops_it_before_the_hook(tmp_path: Path) -> None:
    world, log = World(stuck={"db"}), tmp_path / "log"
    async with rolling(world, roll_of(f"echo ran >>{log}")) as r:
        roll = await r.until(RollState.STOPPED)
        assert "kvm-a could not be emptied: db: the link broke" in roll.trouble
        assert "1 VM of it is on other hosts" in roll.trouble
        assert not hooks(log)
        world.stuck.clear()
        await r.run.control(RollControl.RESUME)
        roll = await r.until(RollState.ENDED)
    assert roll.exit_code == 0
    assert hooks(log) == ["ran", "ran"]
    assert world.places == HOMES, "what left in the first try comes home too"


async def test_a_vm_that_does_not_come_home_stops_it(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "log"
    async with rolling(world, roll_of(f"echo ran >>{log}")) as r:
        await r.so(lambda roll: bool(roll.hosts[0].hook))
        world.stuck.add("web")
        roll = await r.until(RollState.STOPPED)
        assert "Not all VMs of kvm-a came home: web: the link broke" in roll.trouble
        world.stuck.clear()
        await r.run.control(RollControl.RESUME)
        assert (await r.until(RollState.ENDED)).exit_code == 0
    assert world.places == HOMES


async def test_without_a_hook_it_waits_for_the_operator_at_each_host() -> None:
    world = World()
    async with rolling(world, roll_of("")) as r:
        for host in ("kvm-a", "kvm-b"):
            roll = await r.until(RollState.PAUSED)
            assert roll.current is not None
            assert (roll.current.host, roll.current.step) == (host, RollStep.HOOK)
            assert host not in world.places.values()
            await r.run.control(RollControl.RESUME)
        assert (await r.until(RollState.ENDED)).exit_code == 0


async def test_a_host_that_does_not_come_back_stops_it() -> None:
    world = World()
    async with rolling(world, roll_of("true", reboots=True)) as r:
        roll = await r.until(RollState.STOPPED)
        assert "kvm-a is not back within 1 s: it answers, but it has not booted" in roll.trouble
        assert world.places["web"] == "kvm-c"
        await r.run.control(RollControl.SKIP)
        await r.so(lambda roll: roll.current is not None and roll.current.host == "kvm-b")
        assert world.places["web"] == "kvm-a"


async def test_a_paused_roll_brings_its_step_to_an_end_and_no_more() -> None:
    world = World(held=True)
    async with rolling(world, roll_of("true")) as r:
        await r.so(lambda roll: bool(roll.hosts[0].run))
        await r.run.control(RollControl.PAUSE)
        assert world.done == ["evacuate kvm-a", "pause e1"]
        await r.run.control(RollControl.RESUME)
        assert world.done[-1] == "resume e1"
        await r.run.control(RollControl.PAUSE)
        world.finish("e1")
        roll = await r.until(RollState.PAUSED)
        assert roll.current is not None
        assert roll.current.step is RollStep.HOOK
        world.held = False
        await r.run.control(RollControl.RESUME)
        assert (await r.until(RollState.ENDED)).exit_code == 0


async def test_an_aborted_roll_ends_with_what_is_left_to_do() -> None:
    world = World(held=True)
    async with rolling(world, roll_of("true")) as r:
        await r.so(lambda roll: bool(roll.hosts[0].run))
        await r.run.control(RollControl.ABORT)
        roll = await r.until(RollState.ENDED)
        assert (roll.exit_code, roll.aborted) == (1, True)
        assert "`virt-ferry maintenance kvm-a off`" in roll.trouble
        assert world.done == ["evacuate kvm-a", "abort e1"]
        with pytest.raises(BadInput, match="has ended"):
            await r.run.control(RollControl.RESUME)


async def test_an_abort_does_not_wait_for_a_hook_that_hangs() -> None:
    world = World()
    async with rolling(
        world,
        roll_of(
            "sleep 4",
        ),
    ) as r:
        await r.so(lambda roll: roll.hosts[0].hook_began is not None)
        async with asyncio.timeout(3):
            await r.run.control(RollControl.ABORT)
            roll = await r.until(RollState.ENDED)
    assert any("it may go on there" in note.sentence for note in roll.notes)
    assert "`virt-ferry return kvm-a`" in roll.trouble


async def test_an_abort_after_a_stop_says_how_to_bring_the_vms_home() -> None:
    world = World()
    async with rolling(world, roll_of("exit 1")) as r:
        await r.until(RollState.STOPPED)
        await r.run.control(RollControl.ABORT)
        roll = await r.until(RollState.ENDED)
    assert "`virt-ferry return kvm-a`" in roll.trouble
    assert "`virt-ferry roll kvm-a kvm-b`" in roll.trouble


async def test_the_next_engine_goes_on_where_the_last_one_was_killed(tmp_path: Path) -> None:
    world, log = World(held=True), tmp_path / "log"
    async with rolling(world, roll_of(f"echo ran >>{log}")) as r:
        await r.so(lambda roll: bool(roll.hosts[0].run))
    killed = replace(r.run.roll, state=RollState.RUNNING)
    found = course.found_again(killed, world.maintenance)
    assert found.state is RollState.INTERRUPTED
    world.runs["e1"] = replace(world.runs["e1"], state=EvacuationState.INTERRUPTED)
    async with rolling(world, found) as r:
        world.held = False
        await r.run.control(RollControl.RESUME)
        assert world.done[-1] == "resume e1"
        world.finish("e1")
        assert (await r.until(RollState.ENDED)).exit_code == 0
    assert world.done.count("evacuate kvm-a") == 1, "nothing is begun twice"
    assert (world.places, hooks(log)) == (HOMES, ["ran", "ran"])


async def test_a_run_that_was_begun_but_not_written_down_is_taken_up() -> None:
    world = World(held=True)
    begun = course.advanced(roll_of("true"), 5.0)
    await world.start(EvacuationWish("kvm-a"))
    async with rolling(world, begun) as r:
        roll = await r.so(lambda roll: bool(roll.hosts[0].run))
        assert roll.hosts[0].runs == ("e1",)
        assert world.done == ["evacuate kvm-a"]


async def test_a_run_that_ended_while_nobody_looked_is_counted() -> None:
    world = World()
    begun = course.advanced(roll_of("true"), 5.0)
    run = await world.start(EvacuationWish("kvm-a"))
    found = replace(course.with_run(begun, run), state=RollState.INTERRUPTED)
    async with rolling(world, found) as r:
        await r.run.control(RollControl.RESUME)
        assert (await r.until(RollState.ENDED)).exit_code == 0
    assert world.done[:2] == ["evacuate kvm-a", "return kvm-a"]
    assert world.places == HOMES


async def test_a_vm_that_was_started_there_meanwhile_keeps_the_hook_from_running(
    tmp_path: Path,
) -> None:
    world, log = World(held=True), tmp_path / "log"
    async with rolling(world, roll_of(f"echo ran >>{log}")) as r:
        await r.so(lambda roll: bool(roll.hosts[0].run))
        world.places["new"] = "kvm-a"
        world.finish("e1")
        roll = await r.until(RollState.STOPPED)
    assert "kvm-a is not empty: on it is new" in roll.trouble
    assert not hooks(log)


async def test_a_hook_that_is_tried_again_hours_later_meets_no_vm_either(tmp_path: Path) -> None:
    world, log = World(), tmp_path / "log"
    async with rolling(world, roll_of(f"echo ran >>{log}; exit 1")) as r:
        await r.until(RollState.STOPPED)
        world.places["new"] = "kvm-a"
        await r.run.control(RollControl.RESUME)
        roll = await r.until(RollState.STOPPED)
        assert "kvm-a is not empty: on it is new" in roll.trouble
    assert hooks(log) == ["ran"]


async def test_who_left_before_stays_away_when_the_others_come_home() -> None:
    world = World()
    world.places["web"], world.away["web"] = "kvm-c", "kvm-a"
    async with rolling(world, roll_of("true")) as r:
        assert (await r.until(RollState.ENDED)).exit_code == 0
    assert world.places == {**HOMES, "web": "kvm-c"}


async def test_an_empty_host_is_in_maintenance_while_its_hook_runs(tmp_path: Path) -> None:
    world = World(places={"dns": "kvm-b"})
    async with rolling(world, roll_of("exit 1")) as r:
        await r.until(RollState.STOPPED)
        assert (world.done, world.maintenance) == ([], {"kvm-a"})
        await r.run.control(RollControl.SKIP)
        roll = await r.until(RollState.STOPPED)
        assert roll.current is not None
        assert roll.current.host == "kvm-b"
        assert world.maintenance == {"kvm-b"}
