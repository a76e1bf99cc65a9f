"""The VMs of one host, put together from what arrives each second."""

from backend.fleet.guests import Guests
from backend.hypervisor.domains import RawStats

NS = 1_000_000_000


def test_what_a_vm_usually_uses_is_not_one_look_at_a_busy_host() -> None:
    guests, used_ns = Guests("kvm-a", {}), 0
    for second, part in enumerate([0.5] * 6 + [0.05, 0.1]):
        used_ns += round(part * NS)
        raw = {"state.state": 1, "cpu.time": used_ns, "vcpu.current": 1}
        guests.take_statistics([RawStats("u-1", "db-1", raw)], float(second))
    (vm,) = guests.vms
    assert vm.cpu_percent == 10.0
    assert vm.cpu_usual_percent == 50.0
