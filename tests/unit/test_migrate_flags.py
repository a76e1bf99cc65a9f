"""An order's flags, its parameters, and the virsh line that must say the same."""

import shlex
import subprocess

import libvirt
from hypothesis import given
from hypothesis import strategies as st

from backend.hypervisor.migrate import (
    MigrationOrder,
    flags_and_parameters,
    restart_line,
    virsh_line,
)
from backend.hypervisor.tuning import MIB, UNLIMITED_MIB_S, mib_per_s

UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
VIRSH_FLAGS = {
    "--live": libvirt.VIR_MIGRATE_LIVE,
    "--p2p": libvirt.VIR_MIGRATE_PEER2PEER,
    "--tls": libvirt.VIR_MIGRATE_TLS,
    "--persistent": libvirt.VIR_MIGRATE_PERSIST_DEST,
    "--undefinesource": libvirt.VIR_MIGRATE_UNDEFINE_SOURCE,
    "--copy-storage-all": libvirt.VIR_MIGRATE_NON_SHARED_DISK,
    "--abort-on-error": libvirt.VIR_MIGRATE_ABORT_ON_ERROR,
    "--change-protection": libvirt.VIR_MIGRATE_CHANGE_PROTECTION,
}

orders = st.builds(
    MigrationOrder,
    uuid=st.just(UUID),
    vm=st.text(min_size=1, max_size=20),
    target_uri=st.just("qemu+tls://kvm-b/system"),
    persistent=st.booleans(),
    tls=st.booleans(),
    bandwidth_bytes_s=st.none() | st.integers(1, 2**40),
    copy_disks=st.lists(st.sampled_from(["vda", "vdb", "sda"]), unique=True).map(tuple),
    dest_xml=st.none() | st.just("<domain/>"),
    persist_xml=st.none() | st.just("<domain/>"),
)


def order(**changes: object) -> MigrationOrder:
    base: dict[str, object] = {
        "uuid": UUID,
        "vm": "db-1",
        "target_uri": "qemu+tls://kvm-b/system",
    }
    return MigrationOrder(**(base | changes))  # type: ignore[arg-type]


def test_a_plain_live_migration() -> None:
    flags, parameters = flags_and_parameters(order())
    assert flags == (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_TLS
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
        | libvirt.VIR_MIGRATE_CHANGE_PROTECTION
    )
    assert parameters == {}
    assert virsh_line(order(), "qemu:///system") == (
        "virsh -c qemu:///system migrate --live --p2p --tls --persistent --undefinesource "
        "--abort-on-error --change-protection db-1 qemu+tls://kvm-b/system"
    )


def test_a_transient_vm_stays_transient() -> None:
    flags, _ = flags_and_parameters(order(persistent=False))
    assert not flags & (libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE)


def test_disks_bandwidth_and_documents() -> None:
    flags, parameters = flags_and_parameters(
        order(copy_disks=("vda", "vdb"), bandwidth_bytes_s=MIB + 1, dest_xml="x", persist_xml="y")
    )
    assert flags & libvirt.VIR_MIGRATE_NON_SHARED_DISK
    assert parameters == {
        "bandwidth": 2,
        "migrate_disks": ["vda", "vdb"],
        "destination_xml": "x",
        "persistent_xml": "y",
    }


def test_mib_per_second_is_rounded_up_and_never_zero() -> None:
    assert [mib_per_s(rate) for rate in (1, MIB, MIB + 1, None)] == [1, 1, 2, UNLIMITED_MIB_S]
    assert mib_per_s(0) == 1


def test_names_a_shell_or_virsh_would_misread() -> None:
    assert shlex.split(virsh_line(order(vm="a b;'$(x)"), "qemu:///system"))[-2] == "a b;'$(x)"
    for name in ("12", "--suspend", "a\nb"):
        assert shlex.split(virsh_line(order(vm=name), "qemu:///system"))[-2] == UUID


@given(orders)
def test_the_virsh_line_says_what_the_call_does(order: MigrationOrder) -> None:
    flags, parameters = flags_and_parameters(order)
    words = shlex.split(virsh_line(order, "qemu+ssh://kvm-a/system"))
    assert words[:4] == ["virsh", "-c", "qemu+ssh://kvm-a/system", "migrate"]
    assert words[-1] == order.target_uri
    assert words[-2] in (order.vm, UUID)
    options = words[4:-2]
    assert sum(VIRSH_FLAGS.get(word, 0) for word in options) == flags
    values = dict(zip(options, [*options[1:], ""], strict=True))
    assert values.get("--bandwidth") == (
        str(parameters["bandwidth"]) if "bandwidth" in parameters else None
    )
    assert values.get("--migrate-disks") == (
        ",".join(parameters["migrate_disks"]) if "migrate_disks" in parameters else None
    )
    assert ("--xml" in options) == ("destination_xml" in parameters)
    assert ("--persistent-xml" in options) == ("persistent_xml" in parameters)


def test_the_line_of_a_restart_is_a_shell_s_whatever_the_name() -> None:
    order = MigrationOrder(uuid="u-1", vm="a; rm -rf 'b'", target_uri="qemu+tls://kvm-b/system")
    line = restart_line(order, "qemu+ssh://kvm-a/system", "qemu+ssh://kvm-b/system")
    checked = subprocess.run(["sh", "-n", "-c", line], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    calls = line.split("virsh -c ")[1:]
    assert [call.split()[1] for call in calls] == ["shutdown", "domstate", "migrate", "start"]
    assert all(shlex.quote(order.vm) in call for call in calls)
    assert calls[-1].startswith("qemu+ssh://kvm-b/system")
