"""Copies under way: what is made and taken away again, how far they are, what they are worth."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput, CallTimedOut, FerryError, HypervisorError
from backend.hypervisor import domains, volumes
from backend.hypervisor.block_jobs import BlockJob
from backend.hypervisor.volumes import Volume
from backend.model import (
    Band,
    Control,
    Decision,
    DiskAction,
    DiskMove,
    DiskProgress,
    Forecast,
    LayerMove,
    Migration,
    Phase,
    Sample,
    VmState,
    VolumeState,
    Word,
)
from backend.plan.copying import copying_disk
from backend.plan.disk_time import with_disks
from backend.plan.policy import BALANCED
from backend.plan.running import Prior
from backend.remote.images import ImageCheck
from backend.remote.shell import CommandResult
from backend.run import old_images as old_images_module
from backend.run.controls import Controls, available
from backend.run.mirrors import NEARLY, Mirrors, each_bytes_s
from backend.run.new_volumes import NewVolumes
from backend.run.old_images import OldImages
from backend.run.sampling import Account
from backend.run.told import Told
from backend.run.verdict import Before, End

GIB, MIB, MB = 2**30, 2**20, 1_000_000
VDA = DiskMove(
    "vda",
    DiskAction.COPY,
    "/images/files-1.qcow2",
    "qcow2",
    GIB,
    100 * MIB,
    "default",
    "fast",
    "files-1.qcow2",
    "/srv/fast/files-1.qcow2",
    20 * GIB,
)
VDB = replace(VDA, target="vdb", volume="b", destination="/srv/fast/b")
SHARED = DiskMove("vdc", DiskAction.SHARED, "/srv/shared/x")
STATE = Migration(
    "a1",
    "files-1",
    "u-1",
    "kvm-b",
    "kvm-c",
    1000.0,
    BALANCED,
    called_at=1000.0,
    phase=Phase.DISK,
    moves=(VDA, VDB, SHARED),
)
BEFORE = Before("files-1", "kvm-b", "kvm-c", persistent=True)


class Published:
    """Keeps the order in which clients are told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def migration(self, state: Migration) -> None:
        self.told += [f"{v.name} {v.state.value}" for v in state.volumes[-1:]]

    def decision(self, _id: str, decision: Decision) -> None:
        self.told.append(decision.action)

    async def kept(self) -> bool:
        return True


@dataclass
class Host:
    """Runs what it is asked, after what a test has scripted for it."""

    name: str
    errors: list[FerryError | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    shell: Any = None

    async def call(self, function: Callable[[Any], Any], timeout_s: float, what: str) -> Any:
        self.asked.append(what)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return function(self)


def told(published: Published | None = None, **changes: Any) -> Told:
    return Told(replace(STATE, **changes), cast("Any", published or Published()), 0.0, time.time)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was created and deleted, in order; nobody holds the VM at the target."""
    done: list[str] = []

    def create(_conn: Any, _pool: str, name: str, _format: str, _size: int, _more: object) -> str:
        done.append(f"create {name}")
        return f"/srv/fast/{name}"

    def delete(_conn: Any, _pool: str, name: str, path: str) -> bool:
        done.append(f"delete {name}")
        return True

    monkeypatch.setattr(volumes, "create", create)
    monkeypatch.setattr(volumes, "delete", delete)
    monkeypatch.setattr(domains, "presence", lambda _conn, _uuid: domains.ABSENT)
    return done


# -- what is made at the target --------------------------------------------------------------


async def test_each_volume_is_recorded_before_it_is_created(made: list[str]) -> None:
    published = Published()
    state = told(published)
    target = Host("kvm-c")
    await NewVolumes(state, cast("Any", target)).create()
    assert made == ["create files-1.qcow2", "create b"]
    assert published.told[:3] == ["files-1.qcow2 intended", "volume", "files-1.qcow2 intended"]
    assert [volume.state for volume in state.state.volumes] == [VolumeState.CREATED] * 2
    assert "creating /srv/fast/files-1.qcow2 on kvm-c" in state.state.decisions[0].reason


async def test_when_it_stays_they_are_taken_away_again(made: list[str]) -> None:
    state = told()
    new = NewVolumes(state, cast("Any", Host("kvm-c")))
    await new.create()
    assert await new.remove() == ()
    assert made[2:] == ["delete b", "delete files-1.qcow2"]
    assert {volume.state for volume in state.state.volumes} == {VolumeState.REMOVED}
    assert await new.remove() == ()
    assert len(made) == 4


async def test_a_file_that_was_there_is_not_ours_to_remove(made: list[str]) -> None:
    exists = HypervisorError("kvm-c could not create the volume: it exists already.")
    state = told()
    new = NewVolumes(state, cast("Any", Host("kvm-c", errors=[exists])))
    with pytest.raises(HypervisorError):
        await new.create()
    assert await new.remove() == ()
    assert made == []
    assert [volume.state for volume in state.state.volumes] == [VolumeState.REFUSED]


async def test_a_creation_that_was_not_answered_is_left_and_told(made: list[str]) -> None:
    new = NewVolumes(told(), cast("Any", Host("kvm-c", errors=[CallTimedOut("No answer.")])))
    with pytest.raises(CallTimedOut):
        await new.create()
    (left,) = await new.remove()
    assert "may have been created" in left
    assert "virsh vol-delete --pool fast files-1.qcow2" in left
    assert made == []


async def test_what_cannot_be_removed_is_left_over_with_how_to_remove_it(made: list[str]) -> None:
    state = told(moves=(VDA,))
    target = Host("kvm-c", errors=[None, HypervisorError("It is busy.")])
    new = NewVolumes(state, cast("Any", target))
    await new.create()
    (left,) = await new.remove()
    assert left.startswith("/srv/fast/files-1.qcow2 on kvm-c")
    assert "virsh vol-delete --pool fast files-1.qcow2 there" in left


async def test_a_volume_whose_vm_is_held_there_is_never_removed(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new = NewVolumes(told(moves=(VDA,)), cast("Any", Host("kvm-c")))
    await new.create()
    holds = domains.Presence(True, active=True, state=VmState.PAUSED)
    monkeypatch.setattr(domains, "presence", lambda _conn, _uuid: holds)
    assert len(await new.remove()) == 1
    assert made == ["create files-1.qcow2"]


async def test_an_abort_between_two_volumes_creates_no_more(made: list[str]) -> None:
    await NewVolumes(told(abort_asked=True), cast("Any", Host("kvm-c"))).create()
    assert made == []


async def test_while_nobody_knows_where_it_is_both_images_are_kept(made: list[str]) -> None:
    new = NewVolumes(told(moves=(VDA,)), cast("Any", Host("kvm-c")))
    await new.create()
    (said,) = new.undecided()
    assert "keep it, and the source's" in said


# -- how far they are ------------------------------------------------------------------------


def test_a_mirror_whose_total_grows_never_runs_backwards() -> None:
    state = told(moves=(VDA,))
    mirrors = Mirrors(state)
    looks = [(0, 0), (50, 100), (60, 200), (55, 150), (190, 200), (200, 200)]
    seen: list[DiskProgress] = []
    for second, (copied, total) in enumerate(looks):
        mirrors.take({"vda": BlockJob(copied * MB, total * MB)}, float(second))
        seen += state.state.disks
    done = [one.done_bytes for one in seen]
    progress = [one.progress for one in seen]
    assert done == sorted(done)
    assert progress == sorted(progress)
    assert progress[-1] == NEARLY
    assert seen[-1].rate_bytes_s is not None
    mirrors.take({}, 7.0)
    assert state.state.disks == (seen[-1],)
    mirrors.all_copied()
    (ended,) = state.state.disks
    assert (ended.progress, ended.done_bytes) == (1.0, 200 * MB)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=30))
def test_nothing_qemu_counts_makes_it_run_backwards(looks: list[tuple[int, int]]) -> None:
    state = told(moves=(VDA,))
    mirrors = Mirrors(state)
    before = 0.0
    for second, (done, total) in enumerate(looks):
        mirrors.take({"vda": BlockJob(done, total)}, float(second))
        for one in state.state.disks:
            assert before <= one.progress <= NEARLY
            assert one.done_bytes <= one.total_bytes
            before = one.progress


def test_several_mirrors_share_the_bandwidth() -> None:
    assert each_bytes_s(30 * MB, 3) == 10 * MB
    assert each_bytes_s(30 * MB, 1) == 30 * MB
    assert each_bytes_s(None, 3) is None


def raw(disk: int, memory: int, disk_total: int = 200) -> dict[str, int]:
    return {
        "operation": 5,
        "type": 2,
        "disk_total": disk_total * MB,
        "disk_processed": disk * MB,
        "disk_remaining": (disk_total - disk) * MB,
        "memory_total": 512 * MIB if memory else 0,
        "memory_processed": memory * MB,
        "memory_remaining": 512 * MIB - memory * MB if memory else 0,
        "memory_iteration": 1 if memory else 0,
        "memory_bps": 20 * MB,
    }


def test_samples_count_no_pass_before_the_memory_and_keep_both_accounts() -> None:
    account = Account()
    for second, (disk, memory) in enumerate(((0, 0), (20, 0), (200, 0), (0, 10), (0, 30))):
        account.take(raw(disk, memory), float(second), 300)
    samples = account.samples
    assert [one.pass_number for one in samples] == [0, 0, 0, 1, 1]
    assert [one.sent_bytes // MB for one in samples] == [0, 20, 200, 210, 230]
    assert [one.memory_sent_bytes // MB for one in samples] == [0, 0, 0, 10, 30]
    assert [one.remaining_bytes for one in samples[:3]] == [0, 0, 0]
    assert samples[1].rate_bytes_s == 20 * MB
    assert samples[3].rate_bytes_s == 20 * MB


def sample(t_s: float, done: int, rate: float = 20 * MB) -> Sample:
    left = (200 - done) * MB
    return Sample(t_s, 0, 0, 0, done * MB, rate, None, None, None, None, 200 * MB, left, done * MB)


def test_the_outlook_names_what_is_left_and_for_how_long() -> None:
    prior = Prior(first_pass_bytes=100.0 * MB, link_bytes_s=20.0 * MB)
    view = copying_disk([sample(1, 20), sample(2, 40)], prior)
    assert view.word is Word.COPYING_DISK
    assert "153 M of 191 M of disk left, at 20.0 MB/s: about 8 s, then the memory" in view.reason
    assert view.left_s is not None
    assert view.left_s.mid == pytest.approx(13.0)
    assert view.expected_sent_bytes == 300 * MB
    stalled = copying_disk([sample(1, 40), sample(6, 40)], prior)
    assert "nothing has been copied for 5 s" in stalled.reason


def test_while_disks_are_copied_only_the_pause_limit_and_an_abort_are_offered() -> None:
    assert available(STATE) == (Control.PAUSE_LIMIT, Control.ABORT)
    assert available(replace(STATE, hold=True)) == (Control.ABORT,)
    assert available(replace(STATE, abort_asked=True)) == ()


async def test_a_bandwidth_set_meanwhile_is_refused_with_the_reason() -> None:
    controls = Controls(told(), cast("Any", Host("kvm-b")), cast("Any", None))
    with pytest.raises(BadInput, match="only at its start"):
        await controls.set_bandwidth(MB)


# -- the forecast ----------------------------------------------------------------------------


def test_disks_take_their_time_before_the_memory() -> None:
    before = Forecast(True, Band(10, 12, 20), sent_bytes=100 * MB, basis="2 readings")
    link = Band(20 * MB, 25 * MB, 25 * MB)
    after = with_disks(before, 100 * MB, link)
    assert after.total_s is not None
    assert after.total_s.low == pytest.approx(14.2)
    assert after.total_s.mid == pytest.approx(16.5)
    assert after.total_s.high > 25
    assert after.sent_bytes == 200 * MB
    assert after.basis == "2 readings; 95 M of disk are sent first"
    assert with_disks(before, 0, link) == before
    assert with_disks(before, 100 * MB, None).total_s == before.total_s


# -- what they are worth ---------------------------------------------------------------------


class Shell:
    """Answers every script alike."""

    name = "kvm-b"

    def __init__(self, status: int = 0, printed: str = "{}") -> None:
        self.answer = CommandResult(status, printed, "")

    async def run(self, _command: str, _limit_s: float = 1, input: str | None = None) -> Any:
        return self.answer


@dataclass
class Images:
    """Volumes by path, as `describe` tells of them; what was removed."""

    known: dict[str, Volume]
    removed: list[str] = field(default_factory=list)
    above: dict[str, str] = field(default_factory=dict)
    ends: tuple[End | None, End | None] = (
        End("kvm-b", False, False),
        End("kvm-c", True, True, VmState.RUNNING),
    )


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Images:
    both = (VDA.source, VDA.destination or "")
    found = Images({path: Volume(path, "qcow2", GIB, 100 * MIB) for path in both})

    def describe(_conn: Any, path: str) -> Volume:
        if path not in found.known:
            raise HypervisorError("It lies in no storage pool.")
        return found.known[path]

    async def ask_both(*_: Any) -> tuple[None, End | None, End | None]:
        return None, *found.ends

    monkeypatch.setattr(volumes, "describe", describe)
    monkeypatch.setattr(volumes, "lying_on", lambda _conn, path, _anew: found.above.get(path))
    monkeypatch.setattr(volumes, "image_paths", lambda _conn: ())
    monkeypatch.setattr(volumes, "delete_image", lambda _conn, path: found.removed.append(path))
    monkeypatch.setattr(old_images_module, "ask_both", ask_both)
    return found


async def finished(**changes: Any) -> tuple[OldImages, tuple[str, ...]]:
    state = told(**{"moves": (VDA, SHARED), **changes})
    ends = (Host("kvm-b", shell=Shell()), Host("kvm-c"))
    old = OldImages(state, BEFORE, *cast("Any", ends))
    return old, await old.finish()


async def test_the_source_is_kept_and_what_was_proven_is_said(images: Images) -> None:
    old, left = await finished()
    assert left == ()
    assert old.kept == ("kept: /images/files-1.qcow2 on kvm-b",)
    assert old.sentences == (
        "vda: qcow2, 1.0 G virtual on both kvm-b and kvm-c; kvm-b's image passes qemu-img check;"
        " the copy on kvm-c is in use: neither its own check nor a comparison of contents was"
        " made",
    )
    assert images.removed == []


async def test_it_is_removed_only_when_asked_for(images: Images) -> None:
    old, left = await finished(remove_source=True)
    assert (left, old.kept) == ((), ())
    assert images.removed == [VDA.source]


MID, BASE = (
    LayerMove(f"/images/{name}", "qcow2", f"/images/{name}", f"/c/{name}", name)
    for name in ("mid", "base")
)


@pytest.mark.parametrize(
    ("above", "removed", "kept"),
    [
        ({}, [VDA.source, MID.source, BASE.source], ()),
        (
            {BASE.source: "/images/clone"},
            [VDA.source, MID.source],
            ("kept: /images/base on kvm-b: /images/clone lies on it",),
        ),
        (
            {MID.source: "/images/clone"},
            [VDA.source],
            (
                "kept: /images/mid on kvm-b: /images/clone lies on it",
                "kept: /images/base on kvm-b: /images/mid lies on it",
            ),
        ),
    ],
)
async def test_what_other_images_lie_on_is_never_removed(
    images: Images, above: dict[str, str], removed: list[str], kept: tuple[str, ...]
) -> None:
    images.above = above
    chain = replace(VDA, layers=(MID, BASE))
    old, left = await finished(remove_source=True, moves=(chain,))
    assert (left, images.removed, old.kept) == ((), removed, kept)


@pytest.mark.parametrize(
    "ends",
    [
        (None, End("kvm-c", True, True, VmState.RUNNING)),
        (End("kvm-b", True, False), End("kvm-c", True, True, VmState.RUNNING)),
        (End("kvm-b", False, False), End("kvm-c", True, False)),
        (End("kvm-b", False, False), None),
    ],
)
async def test_it_is_not_removed_unless_the_target_alone_holds_the_vm(
    images: Images, ends: tuple[End | None, End | None]
) -> None:
    images.ends = ends
    old, (left,) = await finished(remove_source=True)
    assert images.removed == []
    assert "was not seen to hold files-1 alone" in left
    assert old.kept == ("kept: /images/files-1.qcow2 on kvm-b",)


@pytest.mark.parametrize(
    "there", [None, Volume(VDA.source, "raw", GIB, 0), Volume(VDA.source, "qcow2", GIB + 1, 0)]
)
async def test_it_is_not_removed_when_the_copy_is_not_alike(
    images: Images, there: Volume | None
) -> None:
    path = VDA.destination or ""
    images.known.pop(path)
    images.known |= {} if there is None else {path: there}
    old, (left,) = await finished(remove_source=True)
    assert images.removed == []
    assert "could not be shown to be equal" in left
    assert ("THE IMAGES DIFFER" in old.sentences[0]) == (there is not None)


def test_what_qemu_img_says() -> None:
    assert ImageCheck().words == "passes qemu-img check"
    assert ImageCheck(corruptions=3).words == "FAILS qemu-img check: 3 corruptions"
    assert ImageCheck(leaks=2).words == "passes qemu-img check but for 2 leaked clusters"
    assert "could not be checked" in ImageCheck(errors=1).words
    assert "no check" in ImageCheck(has_checks=False).words
