"""What could be made ready at a target: offered only where it is safe, and what it would change."""

from dataclasses import replace

import pytest

from backend.model import (
    Disk,
    DiskAction,
    DiskChoice,
    Finding,
    Host,
    HostState,
    Mode,
    Nic,
    PreparationKind,
    Severity,
    Vm,
    VmState,
)
from backend.plan.disks import disk_cases
from backend.plan.facts import (
    Definition,
    DiskProof,
    NetworkFacts,
    PoolFacts,
    Preparing,
    Reach,
    ReachProblem,
    Room,
    Survey,
)
from backend.plan.preflight import preflight
from backend.plan.preparing import announced, as_prepared, possible

GIB, MIB = 2**30, 2**20
PATH = "/srv/fast"
VDA = Disk(
    "vda",
    source=f"{PATH}/db-1.qcow2",
    format="qcow2",
    virtual_bytes=GIB,
    allocated_bytes=100 * MIB,
)
OWN = PoolFacts("fast", path=PATH, available_bytes=GIB, autostart=True)
OFF = replace(OWN, active=False, available_bytes=0)
BIG = PoolFacts("big", path="/srv/big", available_bytes=90 * GIB)
LAN = NetworkFacts("lan", "<network><name>lan</name></network>", True, needs=("br0",))
FREE = Room(could_be=True, available_bytes=8 * GIB)
THERE = Room(there=True, available_bytes=8 * GIB)

LOCAL = Survey(
    vm=Vm("u-1", "db-1", "kvm-a", VmState.RUNNING),
    source=Host("kvm-a", HostState.UP),
    target=Host("kvm-b", HostState.UP),
    definition=Definition(disks=(VDA,)),
    disks={"vda": DiskProof(False, at_target=False)},
    source_pools={"vda": "fast"},
    target_pools=(BIG,),
    preparing=Preparing(own_pools={"fast": OWN}, rooms={PATH: FREE}),
)
ON_LAN = replace(
    LOCAL,
    definition=Definition(nics=(Nic("m", "network", "lan"),)),
    attachments={"network lan": False},
    preparing=Preparing(own_networks={"lan": LAN}, devices=frozenset({"br0"})),
)


BETWEEN_POOLS = replace(
    LOCAL,
    target=LOCAL.source,
    mode=Mode.STORAGE,
    choices=(DiskChoice("vda", "slow"),),
    target_pools=(OWN, PoolFacts("slow", path="/srv/slow", active=False)),
    preparing=Preparing(rooms={"/srv/slow": THERE}),
)


def kinds(survey: Survey) -> list[tuple[PreparationKind, str]]:
    return [(one.kind, one.name) for one in possible(survey)]


def with_room(room: Room, **changes: object) -> Survey:
    facts = replace(LOCAL, preparing=replace(LOCAL.preparing, rooms={PATH: room}))
    return replace(facts, **changes)  # type: ignore[arg-type]


def blocks(survey: Survey, check: str) -> list[Finding]:
    found = preflight(survey)
    return [one for one in found if one.severity is Severity.BLOCK and one.check == check]


# -- pools -----------------------------------------------------------------------------------


def test_a_missing_directory_pool_is_made_as_the_sources() -> None:
    (one,) = possible(LOCAL)
    assert (one.kind, one.name, one.path) == (PreparationKind.CREATE_POOL, "fast", PATH)
    assert one.autostart
    assert one.sentence == f"create the directory pool fast at {PATH} on kvm-b, as the source's"
    (case,) = disk_cases(as_prepared(LOCAL, (one,)))
    assert case.move.destination == f"{PATH}/db-1.qcow2"
    assert case.move.room_bytes == 8 * GIB


def test_an_inactive_pool_is_started() -> None:
    off = with_room(THERE, target_pools=(OFF,))
    assert kinds(off) == [(PreparationKind.START_POOL, "fast")]
    (found,) = blocks(off, "storage")
    assert found.code == "storage-no-pool"
    assert "`--prepare` (x on the plan screen) would start the pool fast on kvm-b" in found.remedy
    ready = as_prepared(off, possible(off))
    assert not blocks(ready, "storage")
    assert not possible(ready)


def test_the_chosen_pool_counts_not_the_disks_own() -> None:
    chosen = with_room(THERE, target_pools=(OFF, BIG), choices=(DiskChoice("vda", "big"),))
    assert kinds(chosen) == []
    chosen = with_room(THERE, target_pools=(OFF, BIG), source_pools={"vda": "big"})
    chosen = replace(chosen, choices=(DiskChoice("vda", "fast"),))
    assert kinds(chosen) == [(PreparationKind.START_POOL, "fast")]
    assert blocks(chosen, "storage")[0].code == "storage-pool-inactive"


@pytest.mark.parametrize(
    ("why", "facts"),
    [
        ("files are there already", with_room(Room(there=True, available_bytes=GIB))),
        ("its parent is not there", with_room(Room())),
        ("the path is another pool's", with_room(FREE, target_pools=(replace(BIG, path=PATH),))),
        ("pools are not known", with_room(FREE, target_pools=None)),
        ("the target is down", replace(LOCAL, target=Host("kvm-b", HostState.UNREACHABLE))),
        ("only disks move", replace(LOCAL, target=LOCAL.source)),
        (
            "it is no directory",
            replace(
                LOCAL,
                preparing=Preparing(
                    own_pools={"fast": replace(OWN, kind="netfs")}, rooms={PATH: FREE}
                ),
            ),
        ),
        ("it is shared", replace(LOCAL, disks={"vda": DiskProof(True, at_target=True)})),
    ],
)
def test_nothing_is_offered_where(why: str, facts: Survey) -> None:
    assert possible(facts) == (), why


def test_a_pool_without_room_does_not_mend_the_plan() -> None:
    full = with_room(replace(FREE, available_bytes=MIB), target_pools=())
    ready = as_prepared(full, possible(full))
    assert blocks(ready, "storage")[0].code == "storage-room"


def test_a_volume_libvirt_has_not_seen_is_looked_for_again() -> None:
    disk = replace(VDA, kind="volume", pool="fast")
    unseen = replace(
        LOCAL,
        definition=Definition(disks=(disk,)),
        disks={"vda": DiskProof(True, at_target=True)},
        target_pools=(OWN,),
    )
    assert kinds(unseen) == [(PreparationKind.REFRESH_POOL, "fast")]
    assert [one.code for one in blocks(unseen, "storage")] == ["storage-volume-unseen"]
    assert not blocks(as_prepared(unseen, possible(unseen)), "storage")
    off = replace(unseen, target_pools=(OFF,))
    assert kinds(off) == [(PreparationKind.START_POOL, "fast")]
    assert not blocks(as_prepared(off, possible(off)), "storage")
    gone = replace(unseen, target_pools=())
    assert [one.code for one in blocks(gone, "storage")] == ["storage-pool-missing"]
    assert not possible(gone)


# -- networks --------------------------------------------------------------------------------


def test_a_missing_network_is_defined_as_the_source_has_it() -> None:
    (one,) = possible(ON_LAN)
    assert (one.kind, one.name, one.xml) == (PreparationKind.DEFINE_NETWORK, "lan", LAN.xml)
    assert one.autostart
    (found,) = blocks(ON_LAN, "network")
    assert found.code == "network-network-missing"
    assert "--prepare" in found.remedy
    ready = as_prepared(ON_LAN, (one,))
    assert not blocks(ready, "network")
    assert not possible(ready)


def test_an_inactive_network_is_started_whatever_the_source_has() -> None:
    off = replace(ON_LAN, preparing=Preparing(target_networks={"lan": False}))
    assert kinds(off) == [(PreparationKind.START_NETWORK, "lan")]
    assert blocks(off, "network")[0].code == "network-network-inactive"


@pytest.mark.parametrize(
    ("own", "devices", "said"),
    [
        (LAN, frozenset[str](), "it needs br0, which kvm-b does not have"),
        (LAN, None, "the devices of the target are not known"),
        (
            replace(LAN, needs=(), makes="br-lan"),
            frozenset({"br-lan"}),
            "its bridge would be called br-lan, and kvm-b has one",
        ),
    ],
)
def test_a_network_that_the_host_is_not_set_up_for_is_not_offered(
    own: NetworkFacts, devices: frozenset[str] | None, said: str
) -> None:
    facts = replace(ON_LAN, preparing=Preparing(own_networks={"lan": own}, devices=devices))
    assert possible(facts) == ()
    (found,) = blocks(facts, "network")
    assert said in found.sentence
    assert "--prepare" not in found.remedy


def test_bridges_are_never_made() -> None:
    bridged = replace(
        ON_LAN,
        definition=Definition(nics=(Nic("m", "bridge", "br-dmz"),)),
        attachments={"bridge br-dmz": False},
    )
    assert possible(bridged) == ()
    assert "ip link add br-dmz type bridge" in blocks(bridged, "network")[0].remedy


def test_a_renamed_network_is_looked_for_under_its_new_name() -> None:
    renamed = replace(ON_LAN, networks={"lan": "wan"}, attachments={"network wan": False})
    assert possible(renamed) == ()
    renamed = replace(renamed, preparing=Preparing(target_networks={"wan": False}))
    assert kinds(renamed) == [(PreparationKind.START_NETWORK, "wan")]


def test_two_disks_in_one_pool_need_it_once_and_all_is_announced() -> None:
    second = replace(VDA, target="vdb", source=f"{PATH}/db-2.qcow2")
    two = replace(
        LOCAL,
        definition=Definition(disks=(VDA, second), nics=(Nic("m", "network", "lan"),)),
        disks={name: DiskProof(False, at_target=False) for name in ("vda", "vdb")},
        source_pools={"vda": "fast", "vdb": "fast"},
        attachments={"network lan": False},
        preparing=replace(LOCAL.preparing, own_networks={"lan": LAN}, devices=frozenset({"br0"})),
    )
    assert kinds(two) == [
        (PreparationKind.CREATE_POOL, "fast"),
        (PreparationKind.DEFINE_NETWORK, "lan"),
    ]
    said = announced(possible(two))
    assert [one.code for one in said] == ["prepare-create-pool", "prepare-define-network"]
    assert all(one.severity is Severity.WARN and "undone" in one.remedy for one in said)


# -- the failure list ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "code", "remedy"),
    [
        (ReachProblem.PORT, "reach-port", "Start libvirt's listener on kvm-b"),
        (ReachProblem.SILENT, "reach-silent", "a firewall on kvm-b"),
        (ReachProblem.URI, "reach-uri", "migrate_uri of kvm-b"),
        (ReachProblem.OTHER_HOST, "reach-other-host", "migrate_uri of kvm-b"),
        (ReachProblem.CREDENTIALS, "reach-credentials", "clientcert.pem"),
        (ReachProblem.TRUST, "reach-certificate", "Install the same CA"),
    ],
)
def test_each_way_not_to_reach_a_target_is_its_own(
    problem: ReachProblem, code: str, remedy: str
) -> None:
    (found,) = blocks(replace(LOCAL, reach=Reach(problem, "its words")), "reach")
    assert found.code == code
    assert "its words" in found.sentence
    assert remedy in found.remedy


def test_a_stopped_daemon_is_not_a_host_that_is_away() -> None:
    stopped = Host("kvm-b", HostState.UNREACHABLE, "No libvirt.", daemon_stopped=True)
    (found,) = blocks(replace(LOCAL, target=stopped), "host")
    assert (found.code, "systemctl start" in found.remedy) == ("host-daemon-stopped", True)
    away = Host("kvm-b", HostState.UNREACHABLE, "No route.", remedy="Check the network.")
    (found,) = blocks(replace(LOCAL, target=away), "host")
    assert (found.code, found.remedy) == ("host-unreachable", "Check the network.")


@pytest.mark.parametrize(
    ("there", "code"), [(2 * GIB, "storage-size-differs"), (GIB, "storage-exists")]
)
def test_an_image_of_another_size_is_told_with_both(there: int, code: str) -> None:
    path = "/srv/big/db-1.qcow2"
    taken = replace(LOCAL, occupied=frozenset({path}), occupied_bytes={path: there})
    (found,) = blocks(taken, "storage")
    assert found.code == code
    assert ("2.0 G there, 1.0 G on kvm-a" in found.sentence) == (there != GIB)


def test_snapshots_inside_an_image_forbid_only_a_live_copy() -> None:
    inside = replace(LOCAL, internal_snapshots={"vda": 2})
    (found,) = blocks(inside, "storage")
    assert found.code == "storage-internal-snapshots"
    assert "has 2 snapshots inside its image" in found.sentence
    assert "--mode cold" in found.remedy
    assert disk_cases(inside)[0].move.action is DiskAction.COPY
    known = replace(VDA, length_bytes=120 * MIB)
    cold = replace(inside, mode=Mode.COLD, definition=Definition(disks=(known,)))
    assert not blocks(cold, "storage")


def test_between_pools_of_a_host_the_wanted_one_is_started() -> None:
    assert kinds(BETWEEN_POOLS) == [(PreparationKind.START_POOL, "slow")]
    blocked = [f for f in preflight(BETWEEN_POOLS) if f.severity is Severity.BLOCK]
    assert [one.code for one in blocked] == ["storage-pool-inactive"]
    assert "--prepare" in blocked[0].remedy
    ready = as_prepared(BETWEEN_POOLS, possible(BETWEEN_POOLS))
    assert [f for f in preflight(ready) if f.severity is Severity.BLOCK] == []
    assert disk_cases(ready)[0].move.destination == "/srv/slow/db-1.qcow2"
    live_on_itself = replace(BETWEEN_POOLS, mode=Mode.LIVE)
    assert possible(live_on_itself) == ()
