"""A storage move from confirm to verdict, on a host that is written down here."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from backend.errors import BadInput, FerryError, HostUnreachable, HypervisorError
from backend.hypervisor import block_copy, definitions, volumes
from backend.hypervisor.block_copy import DiskSeen, VmSeen
from backend.hypervisor.migrate import MigrationOrder
from backend.hypervisor.volumes import Volume
from backend.model import (
    Control,
    DiskAction,
    DiskMove,
    Migration,
    Mode,
    Outcome,
    Phase,
    PhaseState,
    Tuning,
    Verdict,
)
from backend.plan.policy import BALANCED
from backend.plan.running import NOTHING
from backend.run import disk_copies, storage_end, storage_move
from backend.run.migration import Undertaking
from backend.run.open_moves import OpenMoves
from backend.run.pool_moves import taken_up
from backend.run.preparing import Ledger
from backend.run.storage_move import StorageRun
from backend.run.verdict import Before

GIB, MB = 2**30, 1_000_000
VDA = DiskMove(
    "vda",
    DiskAction.COPY,
    "/images/a",
    "qcow2",
    GIB,
    100 * MB,
    "default",
    "fast",
    "a",
    "/fast/a",
)
VDB = replace(VDA, target="vdb", source="/images/b", volume="b", destination="/fast/b")
DOWN = HostUnreachable("kvm-a does not answer.")


@dataclass
class Host:
    """One VM with its disks; `fail` has errors by what was asked, raised after it was done if
    `late`."""

    name: str = "kvm-a"
    shell: Any = None
    active: bool = True
    live: dict[str, str] = field(default_factory=lambda: {"vda": "/images/a", "vdb": "/images/b"})
    stored: dict[str, str] = field(default_factory=lambda: {"vda": "/images/a", "vdb": "/images/b"})
    mirrors: dict[str, str] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    rates: list[int | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    fail: dict[str, FerryError] = field(default_factory=dict)
    late: bool = False
    follows_stored: bool = True
    room: int = 10 * GIB
    above: dict[str, str] = field(default_factory=dict)
    on_look: Callable[[int], None] = lambda _number: None
    looks: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.reached.set()

    async def call(
        self, function: Callable[[Any], Any], timeout_s: float = 5, what: str = ""
    ) -> Any:
        self.asked.append(what)
        await asyncio.sleep(0)
        word = next((word for word in self.fail if what.startswith(word)), "")
        error = self.fail.pop(word) if word else None
        if error is not None and not self.late:
            raise error
        answer = function(self)
        if error is not None:
            raise error
        return answer

    def look(self, targets: tuple[str, ...]) -> VmSeen:
        self.looks += 1
        self.on_look(self.looks)
        for name in self.mirrors:
            self.done[name] = min(GIB, self.done.get(name, 0) + GIB // 2)
        return VmSeen(True, self.active, True, {name: self._disk(name) for name in targets})

    def _disk(self, name: str) -> DiskSeen:
        mirror, done = self.mirrors.get(name, ""), self.done.get(name, 0)
        return DiskSeen(
            self.live[name] if self.active else "",
            self.stored[name],
            mirror,
            bool(mirror) and done == GIB,
            done if mirror else 0,
            GIB if mirror else 0,
        )

    def shut_off(self) -> None:
        self.active = False
        self.mirrors.clear()

    def pivot(self, name: str) -> None:
        self.live[name] = self.mirrors.pop(name)
        if self.follows_stored:
            self.stored[name] = self.live[name]


class Published:
    """Keeps every state it is told."""

    def __init__(self) -> None:
        self.states: list[Migration] = []

    def migration(self, state: Migration) -> None:
        self.states.append(state)

    def sample(self, _id: str, _sample: Any) -> None: ...

    def decision(self, _id: str, _decision: Any) -> None: ...

    async def kept(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt is the host above, and nobody waits."""
    monkeypatch.setattr(storage_move, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(storage_end, "RECHECK_S", 0.001)
    monkeypatch.setattr(block_copy, "look", lambda host, _uuid, targets: host.look(targets))

    def start(
        host: Host, _uuid: str, name: str, path: str, _format: str, rate: Any, _fine: int | None
    ) -> None:
        host.rates.append(rate)
        host.mirrors[name] = path

    def end(host: Host, _uuid: str, name: str) -> bool:
        return host.mirrors.pop(name, None) is not None

    def create(host: Host, _pool: str, name: str, *_more: object) -> str:
        host.files.add(f"/fast/{name}")
        return f"/fast/{name}"

    def delete(host: Host, _pool: str, _name: str, path: str) -> bool:
        assert path not in host.live.values(), "an image in use was deleted"
        assert path not in host.stored.values(), "an image of the next start was deleted"
        assert path not in host.mirrors.values(), "an image being written was deleted"
        host.files.discard(path)
        return True

    def describe(_host: Host, path: str) -> Volume:
        return Volume(path, "qcow2", GIB, MB)

    monkeypatch.setattr(block_copy, "start", start)
    monkeypatch.setattr(block_copy, "abort", end)
    monkeypatch.setattr(block_copy, "pivot", lambda host, _uuid, name: host.pivot(name))
    monkeypatch.setattr(block_copy, "store", lambda host, _uuid, paths: host.stored.update(paths))
    monkeypatch.setattr(
        block_copy, "set_rates", lambda host, _uuid, names, rate: host.rates.append((names, rate))
    )
    monkeypatch.setattr(volumes, "create", create)
    monkeypatch.setattr(volumes, "delete", delete)
    monkeypatch.setattr(volumes, "describe", describe)
    monkeypatch.setattr(volumes, "lying_on", lambda host, path, _anew: host.above.get(path))
    monkeypatch.setattr(volumes, "image_paths", lambda _host: ())
    monkeypatch.setattr(volumes, "room_bytes", lambda host, _pool: host.room)
    monkeypatch.setattr(
        volumes, "delete_image", lambda host, path: delete(host, "", "", path) and None
    )


def move(
    host: Host, *moves: DiskMove, remove_source: bool = False, folder: Path | None = None
) -> tuple[StorageRun, Published]:
    state = Migration(
        "m1",
        "db-1",
        "u-1",
        "kvm-a",
        "kvm-a",
        0.0,
        BALANCED,
        mode=Mode.STORAGE,
        phases=dict.fromkeys(Phase, PhaseState.WAITING),
        moves=moves or (VDA,),
        remove_source=remove_source,
    )
    host.files |= {"/images/a", "/images/b"}
    published = Published()
    order = MigrationOrder("u-1", "db-1", "")
    before = Before("db-1", "kvm-a", "kvm-a", persistent=True)
    begun = Undertaking(state, order, before, Tuning(300), NOTHING, 0.0, time.time)
    kept = OpenMoves(folder)
    return StorageRun(begun, cast("Any", host), cast("Any", published), kept), published


async def ended(run: StorageRun) -> Verdict:
    async with asyncio.timeout(10):
        await run.run()
    assert run.state.verdict is not None
    assert run.state.controls == ()
    return run.state.verdict


def assert_as_it_was(host: Host) -> None:
    assert host.mirrors == {}
    assert host.live == host.stored == {"vda": "/images/a", "vdb": "/images/b"}
    assert host.files == {"/images/a", "/images/b"}


async def test_all_disks_follow_before_the_first_is_switched() -> None:
    host = Host()
    run, published = move(host, VDA, VDB)
    verdict = await ended(run)
    assert (verdict.outcome, verdict.owner, verdict.leftovers) == (Outcome.MOVED, "kvm-a", ())
    assert host.live == host.stored == {"vda": "/fast/a", "vdb": "/fast/b"}
    assert verdict.kept == ("kept: /images/a on kvm-a", "kept: /images/b on kvm-a")
    assert all("the contents were not compared" in said for said in verdict.disks)
    order = [what for what in host.asked if what.startswith(("copy", "put"))]
    assert [what.split()[0] for what in order] == ["copy", "copy", "put", "put"]
    progress = [[one.progress for one in state.disks] for state in published.states if state.disks]
    for column in zip(*progress, strict=True):
        assert list(column) == sorted(column)
    assert progress[-1] == [1.0, 1.0]
    assert run.state.phases[Phase.MEMORY] is PhaseState.SKIPPED


async def test_old_images_go_when_that_was_asked_for() -> None:
    host = Host()
    run, _ = move(host, VDA, remove_source=True)
    verdict = await ended(run)
    assert (verdict.outcome, verdict.kept, verdict.leftovers) == (Outcome.MOVED, (), ())
    assert host.files == {"/images/b", "/fast/a"}


async def test_an_old_image_that_others_lie_on_is_not_removed() -> None:
    host = Host(above={"/images/a": "/images/clone"})
    run, _ = move(host, VDA, remove_source=True)
    verdict = await ended(run)
    assert "/images/a" in host.files
    assert verdict.kept == ("kept: /images/a on kvm-a",)
    assert "/images/clone lies on it" in verdict.leftovers[0]


async def test_an_old_image_is_kept_while_the_new_one_cannot_be_shown_to_be_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"/images/a": GIB, "/fast/a": GIB // 2}
    monkeypatch.setattr(
        volumes, "describe", lambda _host, path: Volume(path, "qcow2", sizes[path], MB)
    )
    host = Host()
    run, _ = move(host, VDA, remove_source=True)
    verdict = await ended(run)
    assert "THE IMAGES DIFFER" in verdict.disks[0]
    assert "/images/a" in host.files
    assert verdict.kept == ("kept: /images/a on kvm-a",)
    assert "was not removed" in verdict.leftovers[0]


async def test_a_stored_definition_that_libvirt_left_alone_is_written() -> None:
    host = Host(follows_stored=False)
    run, _ = move(host)
    assert (await ended(run)).outcome is Outcome.MOVED
    assert host.stored["vda"] == "/fast/a"


@pytest.mark.parametrize("look", [1, 2, 3])
async def test_an_abort_at_any_look_leaves_all_as_it_was(look: int) -> None:
    host = Host()
    run, _ = move(host, VDA, VDB)
    aborts: list[asyncio.Task[None]] = []

    def abort(number: int) -> None:
        if number == look:
            aborts.append(asyncio.get_running_loop().create_task(run.abort()))

    host.on_look = abort
    verdict = await ended(run)
    assert verdict.outcome is Outcome.STAYED
    assert "Aborted as asked" in verdict.reason
    assert verdict.leftovers == ()
    assert_as_it_was(host)


async def test_an_abort_before_anything_was_made() -> None:
    host = Host()
    run, _ = move(host)
    await run.abort()
    assert (await ended(run)).outcome is Outcome.STAYED
    assert "copy" not in " ".join(host.asked)
    assert_as_it_was(host)


async def test_too_late_to_abort_is_said() -> None:
    host = Host()
    run, _ = move(host)
    await ended(run)
    with pytest.raises(BadInput, match="has ended"):
        await run.abort()


async def test_a_copy_that_cannot_be_begun_is_rolled_back() -> None:
    host = Host(fail={"copy vda": HypervisorError("kvm-a could not copy vda: no.")})
    run, _ = move(host)
    verdict = await ended(run)
    assert (verdict.outcome, verdict.leftovers) == (Outcome.STAYED, ())
    assert "could not copy vda" in verdict.reason
    assert_as_it_was(host)


async def test_a_full_pool_is_named() -> None:
    host = Host(room=MB)
    run, _ = move(host, VDA, VDB)
    host.on_look = lambda number: host.mirrors.clear() if number == 2 else None
    verdict = await ended(run)
    assert verdict.outcome is Outcome.STAYED
    assert "pool fast of kvm-a is full" in verdict.reason
    assert_as_it_was(host)


async def test_a_vm_that_is_shut_down_stays_on_its_images() -> None:
    host = Host()
    run, _ = move(host)
    host.on_look = lambda number: host.shut_off() if number == 2 else None
    verdict = await ended(run)
    assert (verdict.outcome, verdict.leftovers) == (Outcome.STAYED, ())
    assert "was shut down while" in verdict.reason
    assert_as_it_was(host)


async def test_a_qemu_that_lets_go_of_its_copy_as_it_ends_was_shut_down() -> None:
    host = Host()
    run, _ = move(host)

    def end(number: int) -> None:
        host.mirrors.clear() if number == 2 else None
        host.shut_off() if number == 3 else None

    host.on_look = end
    assert "was shut down while" in (await ended(run)).reason


async def test_a_start_whose_answer_was_lost_is_found_out_by_looking() -> None:
    host = Host(fail={"copy vda": DOWN}, late=True)
    run, _ = move(host)
    assert (await ended(run)).outcome is Outcome.MOVED
    lost = Host(fail={"copy vda": DOWN})
    run, _ = move(lost)
    assert (await ended(run)).outcome is Outcome.STAYED
    assert_as_it_was(lost)


@pytest.mark.parametrize("late", [False, True])
async def test_a_switch_whose_answer_was_lost_is_asked_again_only_if_needed(late: bool) -> None:
    host = Host(fail={"put": DOWN}, late=late)
    run, _ = move(host)
    assert (await ended(run)).outcome is Outcome.MOVED
    assert sum(what.startswith("put") for what in host.asked) == (1 if late else 2)


async def test_a_second_disk_that_cannot_be_switched_is_told_and_nothing_in_use_is_removed() -> (
    None
):
    host = Host(fail={"put db-1 on the copy of vdb": HypervisorError("kvm-a would not.")})
    run, _ = move(host, VDA, VDB, remove_source=True)
    verdict = await ended(run)
    assert verdict.outcome is Outcome.STAYED
    assert "kvm-a would not" in verdict.reason
    assert any("vda is /fast/a" in line for line in verdict.leftovers)
    assert host.live == {"vda": "/fast/a", "vdb": "/images/b"}
    assert host.files == {"/images/a", "/images/b", "/fast/a"}


async def test_a_silent_host_is_waited_for() -> None:
    host = Host(fail={"tell of its disks": DOWN})
    run, _ = move(host)
    assert (await ended(run)).outcome is Outcome.MOVED
    notes = [decision.reason for decision in run.state.decisions]
    assert any("does not answer" in note for note in notes)
    assert any("answers again" in note for note in notes)


async def test_one_that_stays_silent_is_unknown_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disk_copies, "SILENT_S", -1.0)
    monkeypatch.setattr(storage_end, "SILENT_S", -1.0)
    host = Host()
    run, published = move(host)
    silent = iter([True] * 3)

    def look(number: int) -> None:
        if number > 1 and next(silent, False):
            raise DOWN

    host.on_look = look
    verdict = await ended(run)
    outcomes = [s.verdict.outcome for s in published.states if s.verdict is not None]
    assert Outcome.UNKNOWN in outcomes
    assert verdict.outcome is Outcome.STAYED
    assert_as_it_was(host)


async def test_snapshots_follow_once_a_host_that_was_away_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed: list[str] = []
    monkeypatch.setattr(
        definitions, "repoint_snapshots", lambda _host, uuid, _changes: followed.append(uuid)
    )
    host = Host(fail={"let its snapshots": DOWN}, active=False)
    host.stored["vda"] = "/fast/a"
    left, published = move(host)
    idle = replace(left.state, idle=True)
    run = taken_up(
        idle, cast("Any", host), cast("Any", published), OpenMoves(None), Ledger(), time.time
    )
    await run.settle_open()
    assert run.state.verdict is not None
    assert (run.state.verdict.outcome, run.state.verdict.leftovers) == (Outcome.MOVED, ())
    assert followed == ["u-1"]


async def test_bandwidth_is_live_and_nothing_else_can_be_done() -> None:
    host = Host()
    run, _ = move(host, VDA, VDB)
    tasks: list[asyncio.Task[None]] = []

    def limit(number: int) -> None:
        if number == 1:
            assert run.state.controls == (Control.BANDWIDTH, Control.ABORT)
            tasks.append(asyncio.get_running_loop().create_task(run.set_bandwidth(5 * MB)))

    host.on_look = limit
    with pytest.raises(BadInput):
        await run.set_pause_limit(100)
    with pytest.raises(BadInput):
        await run.operate(Control.SUSPEND)
    await ended(run)
    assert host.rates == [None, (("vda",), 5 * MB), 5 * MB]
    with pytest.raises(BadInput):
        await run.set_bandwidth(MB)


@pytest.mark.parametrize("switched", [False, True])
async def test_what_an_engine_left_when_it_died_is_undone_or_finished(
    tmp_path: Path, switched: bool
) -> None:
    host = Host()
    run, published = move(host, VDA, folder=tmp_path)

    def die(number: int) -> None:
        if number == 2:
            if switched:
                host.pivot("vda")
            raise SystemExit

    host.on_look = die
    with pytest.raises(SystemExit):
        await run.run()
    (left,) = OpenMoves(tmp_path).found()
    assert (left.phase, left.volumes[0].path) == (Phase.DISK, "/fast/a")
    host.on_look = lambda _number: None
    kept = OpenMoves(tmp_path)
    again = taken_up(left, cast("Any", host), cast("Any", published), kept, Ledger(), time.time)
    await again.settle_open()
    assert again.state.verdict is not None
    if switched:
        assert again.state.verdict.outcome is Outcome.MOVED
        assert host.live["vda"] == host.stored["vda"] == "/fast/a"
    else:
        assert again.state.verdict.outcome is Outcome.STAYED
        assert "The engine ended" in again.state.verdict.reason
        assert_as_it_was(host)
    assert OpenMoves(tmp_path).found() == ()
