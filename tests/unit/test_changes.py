"""Published changes: whoever folds each of them holds what the engine holds."""

from hypothesis import given
from hypothesis import strategies as st

from backend.model import Alarm, FleetSnapshot, Host, HostState, Vm, VmState
from backend.service.changes import difference, fold, whole
from backend.service.protocol import Publish, decode_from_engine, encode

HOSTS = ("a", "b")
vms = st.builds(
    Vm,
    uuid=st.sampled_from(["1", "2", "3"]),
    name=st.sampled_from(["x", "y"]),
    host=st.sampled_from(HOSTS),
    state=st.sampled_from(list(VmState)),
    cpu_percent=st.none() | st.floats(0, 100),
)
hosts = st.tuples(
    *(st.builds(Host, name=st.just(name), state=st.sampled_from(list(HostState))) for name in HOSTS)
)


alarms = st.builds(
    Alarm,
    vm=st.sampled_from(["x", "y"]),
    uuid=st.just("1"),
    hosts=st.just(HOSTS),
    sentence=st.text(max_size=9),
    remedy=st.just(""),
)


def snapshot(
    found: tuple[Host, ...], guests: list[Vm], told: tuple[Alarm, ...] = ()
) -> FleetSnapshot:
    unique = {(vm.uuid, vm.host): vm for vm in guests}.values()
    return FleetSnapshot(
        "f", found, tuple(sorted(unique, key=lambda v: (v.name, v.host, v.uuid))), told
    )


snapshots = st.builds(snapshot, hosts, st.lists(vms, max_size=6), st.tuples() | st.tuples(alarms))


@given(snapshots, snapshots)
def test_folding_the_difference_gives_the_new_snapshot(
    old: FleetSnapshot, new: FleetSnapshot
) -> None:
    change = difference(old, new)
    if old == new:
        assert change is None
    else:
        assert change is not None
        assert fold(old, change) == new


@given(snapshots)
def test_a_change_survives_the_wire(fleet: FleetSnapshot) -> None:
    message = Publish(whole(fleet))
    received = decode_from_engine(encode(message))
    assert received == message
    assert fold(FleetSnapshot(), whole(fleet)) == fleet
