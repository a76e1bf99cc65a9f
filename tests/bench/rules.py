"""How long the rules on load take to decide over a whole data centre.

    .venv/bin/python tests/bench/rules.py [VMS] [HOSTS]

5,000 VMs on 200 hosts of two sizes; of 12 VMs one is in a group that is kept together, one in a
group that is kept apart, two are in groups of which that is a wish, one prefers a host; one in 200
is never moved. The fleets differ in how full the hosts are and in how many of them `consolidate`
would empty; in some of them none can be.
"""

import os
import random
import sys
import time
from dataclasses import dataclass
from datetime import datetime

from backend.model import RuleKind, Tags
from backend.plan.placement_types import HostRoom, VmNeed
from backend.plan.rules import Rule
from backend.plan.rules_advice import advise
from backend.plan.rules_types import HostLoad, LoadRound, RuleFleet

GIB = 2**30
SIZES_GIB = (1, 2, 2, 4, 4, 4, 8, 8, 16, 32)
NOW = 1e6
NOON = datetime(2026, 11, 25, 12, 0)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a fleet is like; parts of a host's memory and of its CPUs."""

    about: str
    idle_hosts_part: float = 1.0
    """Of the hosts: those that `consolidate` would empty."""
    busy_part: float = 0.6
    idle_part: float = 0.25
    busy_cpu_part: float = 0.4
    idle_cpu_part: float = 0.15
    tagged: bool = True
    """Some VMs have groups or wishes."""
    never_part: float = 0.005
    """Of the VMs: never moved."""
    sizes_gib: tuple[int, ...] = SIZES_GIB
    room_gib: tuple[int, ...] = ()
    """What a host may take until it is as full as the rule allows, one of these, and all have as
    many VMs; empty: as the parts say."""
    below_percent: float = 30.0
    most_percent: float = 65.0


SHAPES = (
    Shape("one host in ten is idle", 0.1),
    Shape("all are idle", 1.0),
    Shape("all are idle, two VMs in five are never moved", never_part=0.4),
    Shape("hardly any room", tagged=False, never_part=0, sizes_gib=(5, 7, 11),
          room_gib=(*[0] * 24, 16), below_percent=70),
    Shape("room by the sums only", tagged=False, never_part=0, sizes_gib=(16, 20),
          room_gib=(*[0] * 50, 30, 34, 48), below_percent=70),
    Shape("room for memory, hardly any for CPUs", idle_part=0.15, idle_cpu_part=0.295,
          most_percent=30.5),
)  # fmt: skip


def fleet(shape: Shape, vms: int, hosts: int) -> tuple[RuleFleet, tuple[LoadRound, ...]]:
    """The VMs fill their hosts as the shape says; a host's loads are those of its VMs."""
    dice = random.Random(7)
    names = [f"kvm-{n:03d}" for n in range(hosts)]
    sizes = [2 if n % 4 == 0 else 1 for n in range(hosts)]
    idle = [n % 100 < 100 * shape.idle_hosts_part for n in range(hosts)]
    parts = [
        size * (shape.idle_part if low else shape.busy_part)
        for size, low in zip(sizes, idle, strict=True)
    ]
    homes = dice.choices(range(hosts), parts, k=vms)
    if shape.room_gib:
        homes = [n % hosts for n in range(vms)]
    needs = tuple(
        VmNeed(f"v{n}", f"vm-{n}", names[home], dice.choice(shape.sizes_gib) * GIB,
               dice.uniform(0.2, 2.0), tags=_tags(dice, n, home, vms, names, shape))
        for n, home in enumerate(homes)
    )  # fmt: skip
    rooms = tuple(
        _room(dice, name, size, low, shape, [vm for vm in needs if vm.host == name])
        for name, size, low in zip(names, sizes, idle, strict=True)
    )
    loads = tuple(
        HostLoad(
            room.name,
            100 * room.cpus_used / room.cpus,
            100 - 100 * room.memory_free_bytes / room.memory_bytes,
        )
        for room in rooms
    )
    return RuleFleet(rooms, needs), tuple(LoadRound(NOW - 60 + 20 * n, loads) for n in range(3))


def _room(
    dice: random.Random, name: str, size: int, idle: bool, shape: Shape, vms: list[VmNeed]
) -> HostRoom:
    used_bytes = sum(vm.memory_bytes for vm in vms)
    cpus_used = sum(vm.cpus_used for vm in vms)
    about = dice.uniform(0.95, 1.05)
    part = (shape.idle_part if idle else shape.busy_part) * about
    cpu_part = (shape.idle_cpu_part if idle else shape.busy_cpu_part) * about
    memory_bytes = int(max(GIB, used_bytes) / part)
    if shape.room_gib:
        most_bytes = used_bytes + dice.choice(shape.room_gib) * GIB
        memory_bytes = int(100 * most_bytes / shape.most_percent) + 1
    return HostRoom(name, memory_bytes, memory_bytes - used_bytes,
                    max(1, round(cpus_used / cpu_part)), cpus_used,
                    link_bytes_s=1e9 * size)  # fmt: skip


def _tags(
    dice: random.Random, number: int, home: int, vms: int, names: list[str], shape: Shape
) -> Tags:
    kind = number % 12 if shape.tagged else None
    return Tags(
        never=dice.random() < shape.never_part,
        together=(f"t{home}-{dice.randrange(3)}",) if kind == 0 else (),
        apart=(f"a{dice.randrange(vms)}",) if kind == 1 else (),
        prefer=(dice.choice(names),) if kind == 2 else (),
        apart_soft=(f"s{dice.randrange(max(1, vms // 50))}",) if kind == 3 else (),
        together_soft=(f"q{home}",) if kind == 4 else (),
    )


def main() -> None:
    """Each fleet with each rule."""
    vms = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    hosts = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    print(f"{vms} VMs on {hosts} hosts; load average {os.getloadavg()[0]:.1f}")
    for shape in SHAPES:
        known, rounds = fleet(shape, vms, hosts)
        pack = Rule("pack", RuleKind.CONSOLIDATE, below_percent=shape.below_percent,
                    most_percent=shape.most_percent)  # fmt: skip
        told = []
        for rule in (pack, Rule("even", RuleKind.BALANCE), Rule("home", RuleKind.FOLLOW)):
            begun, cpu = time.perf_counter(), time.process_time()
            found = advise((rule,), rounds, known, NOW, NOON)
            took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
            moves = sum(len(one.moves) for one in found)
            told.append(f"{rule.kind} {took_s:.2f} s ({cpu_s:.2f} of CPU), {moves} moves")
        print(f"{shape.about}: {'; '.join(told)}")


if __name__ == "__main__":
    main()
