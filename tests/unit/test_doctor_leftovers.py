"""What an examination says of limits and images that are left behind."""

from dataclasses import replace

from backend.model import FleetFinding, Grade, VmState
from backend.plan.doctor_facts import Copy, FleetFacts, Volume
from backend.plan.doctor_leftovers import limits, volumes
from tests.unit.test_doctor_vms import RUNS, fleet

RESTS = replace(RUNS, pause_ms=300)
MINE = (17, 1000)
PATH = "/var/lib/libvirt/images/db-1.qcow2"
IMAGE = Volume("kvm-b", "default", "db-1.qcow2", PATH, (18, 2000), 9000, 2 * 2**30)


def limited(copy: Copy, **more: object) -> list[FleetFinding]:
    return list(limits(replace(fleet(copy), **more)))  # type: ignore[arg-type]


def test_qemus_own_limits_are_none() -> None:
    assert limited(RESTS) == []


def test_a_pause_limit_left_on_a_vm_at_rest() -> None:
    (found,) = limited(replace(RESTS, pause_ms=2000))
    assert (found.code, found.grade) == ("limit-pause", Grade.MEND)
    assert found.remedy == "On kvm-a: virsh migrate-setmaxdowntime u-1 300"


def test_a_bandwidth_left_on_a_vm_at_rest() -> None:
    (found,) = limited(replace(RESTS, bandwidth_bytes_s=10 * 2**20))
    assert "10.5 MB/s" in found.sentence
    assert found.remedy == "On kvm-a: virsh migrate-setspeed u-1 8796093022207"


def test_what_moves_has_limits_for_a_reason() -> None:
    moves = replace(RESTS, pause_ms=2000)
    assert limited(moves, moving=frozenset({"u-1"})) == []
    assert limited(replace(moves, job="migration out")) == []


def test_suspended_by_us_is_to_be_mended_by_others_a_remark() -> None:
    sleeps = replace(RESTS, state=VmState.PAUSED, reason="user")
    (ours,) = limited(sleeps, suspended=frozenset({"u-1"}))
    (theirs,) = limited(sleeps)
    assert (ours.grade, theirs.grade) == (Grade.MEND, Grade.REMARK)
    assert "virsh resume u-1" in ours.remedy


def test_an_io_error_is_to_be_mended() -> None:
    (found,) = limited(replace(RESTS, state=VmState.PAUSED, reason="io error"))
    assert (found.code, found.grade) == ("vm-io-error", Grade.MEND)


def test_a_qemu_that_does_not_answer_is_told() -> None:
    (found,) = limited(replace(RUNS, deaf=True))
    assert (found.code, found.grade) == ("vm-qemu-silent", Grade.REMARK)


# -- images ----------------------------------------------------------------------------------


def with_images(*some: Volume, images: frozenset[str] = frozenset({PATH})) -> FleetFacts:
    facts = fleet(replace(RUNS, images=images))
    hosts = tuple(
        replace(
            host,
            volumes=tuple(one for one in some if one.host == host.name),
            images={PATH: MINE} if host.name == "kvm-a" else {},
        )
        for host in facts.hosts
    )
    return replace(facts, hosts=hosts)


def told(*some: Volume, **more: object) -> list[FleetFinding]:
    return list(volumes(replace(with_images(*some), **more)))  # type: ignore[arg-type]


def test_an_image_of_the_same_name_elsewhere_was_kept() -> None:
    (found,) = told(IMAGE)
    assert (found.code, found.grade, found.vm) == ("volume-kept", Grade.REMARK, "db-1")
    assert f"{PATH} on kvm-b (2.0 G) is not the image that db-1 uses on kvm-a" in found.sentence


def test_the_same_file_seen_from_two_hosts_is_the_vms_own() -> None:
    assert told(replace(IMAGE, identity=MINE)) == []


def test_nothing_is_claimed_of_a_file_nobody_could_look_at() -> None:
    assert told(replace(IMAGE, identity=None, allocated_bytes=None)) == []


def test_what_all_hosts_see_and_no_vm_names_is_told_once() -> None:
    spare = replace(IMAGE, name="spare.raw", path="/srv/shared/spare.raw")
    (found,) = told(spare, replace(spare, host="kvm-c"))
    assert (found.code, found.hosts) == ("volume-unused", ("kvm-b", "kvm-c"))
    assert "spare.raw (2.0 G)" in found.sentence


def test_many_that_no_vm_names_are_one_remark_the_largest_first() -> None:
    some = [
        replace(IMAGE, name=f"{n}.iso", path=f"/iso/{n}.iso", identity=(n, n), allocated_bytes=n)
        for n in range(1, 9)
    ]
    (found,) = told(*some)
    assert "8 images" in found.sentence
    assert found.sentence.index("8.iso") < found.sentence.index("5.iso")
    assert "3 more" in found.sentence
    assert found.grade is Grade.REMARK


def test_an_unfinished_copy_is_to_be_removed_when_nobody_writes_to_it() -> None:
    part = replace(IMAGE, name="db 1.qcow2.part-0a1b2c", path=f"{PATH}.part-0a1b2c")
    (found,) = told(part)
    assert (found.code, found.grade) == ("volume-unfinished", Grade.MEND)
    assert found.remedy == "on kvm-b: virsh vol-delete --pool default 'db 1.qcow2.part-0a1b2c'"
    (fresh,) = told(replace(part, idle_s=5))
    assert fresh.grade is Grade.REMARK
    assert told(part, open_moves=frozenset({"0a1b2c"})) == []


def test_hosts_that_cannot_be_asked_may_have_the_user_of_an_image() -> None:
    facts = with_images(replace(IMAGE, name="x.raw", path="/x.raw"))
    silent = replace(facts.hosts[2], copies=None)
    (found,) = volumes(replace(facts, hosts=(*facts.hosts[:2], silent)))
    assert "(kvm-c cannot be asked)" in found.sentence
