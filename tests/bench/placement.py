"""How long placing a whole data centre takes, and how well it is packed.

    .venv/bin/python tests/bench/placement.py [VMS] [HOSTS]

5,000 VMs on 200 hosts of two sizes, with groups, preferred hosts and blocked pairs: with much
room, with hardly enough, and with too little.
"""

import random
import sys
import time

from backend.model import Tags
from backend.plan.placement import HostRoom, Question, VmNeed, place

GIB = 2**30
SIZES = (1, 2, 2, 4, 4, 4, 8, 8, 16, 32)


def tags(dice: random.Random, count: int, hosts: list[str]) -> Tags:
    """One VM in three has some."""

    def one_in(times: int, *words: str) -> tuple[str, ...]:
        return (dice.choice(words),) if dice.random() < 1 / times else ()

    groups = [f"g{n}" for n in range(max(1, count // 12))]
    return Tags(
        prefer=one_in(10, *hosts),
        together=one_in(20, *groups),
        together_soft=one_in(20, *groups),
        apart=one_in(10, *groups),
        apart_soft=one_in(10, *groups),
    )


def question(vms: int, hosts: int, full: float) -> Question:
    """`full`: the part of the hosts' free memory that the VMs need."""
    dice = random.Random(7)
    names = [f"kvm-{n:03d}" for n in range(hosts)]
    wanted = tuple(
        VmNeed(f"v{n}", f"vm-{n}", "old", dice.choice(SIZES) * GIB, dice.random() * 2, n % 9 * GIB,
               tags(dice, vms, names))
        for n in range(vms)
    )  # fmt: skip
    total = sum(vm.memory_bytes for vm in wanted)
    rooms = [(2 if n % 4 == 0 else 1) for n in range(hosts)]
    each = total / full / sum(rooms) / 0.9
    rooms_of = [
        HostRoom(name, int(each * size / 0.95), int(each * size * 0.9 / 0.95) + int(
            0.05 * each * size / 0.95), 64 * size, 4.0 * size, link_bytes_s=1e9)
        for name, size in zip(names, rooms, strict=True)
    ]  # fmt: skip
    blocked = {
        (vm.id, name): "no" for vm in wanted[::10] for name in dice.sample(names, hosts // 4)
    }
    return Question(wanted, tuple(rooms_of), (), blocked)


def main() -> None:
    """Each fleet twice: the answers are the same."""
    vms = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    hosts = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    for full in (0.6, 0.96, 0.995, 1.1):
        asked = question(vms, hosts, full)
        begun, cpu = time.perf_counter(), time.process_time()
        found = place(asked)
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        same = place(asked) == found
        left = sum(one.host is None for one in found.placed)
        print(
            f"{vms} VMs on {hosts} hosts, {100 * full:.0f} % of their memory: {took_s:.2f} s"
            f" ({cpu_s:.2f} of CPU), {left} left behind, cost {found.cost:,.0f},"
            f" again {'the same' if same else 'OTHER'}"
        )


if __name__ == "__main__":
    main()
