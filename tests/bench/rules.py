"""How long the rules on load take to decide over a whole data centre.

    .venv/bin/python tests/bench/rules.py [VMS] [HOSTS]

5,000 VMs on 200 hosts of two sizes; of 12 VMs one is in a group that is kept together, one in a
group that is kept apart, one prefers a host, and one in 200 is never moved. The fleets differ in
how full the hosts are and in how many of them `consolidate` would like to empty; in some of them
none can be.
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
SIZES = (1, 2, 2, 4, 4, 4, 8, 8, 16, 32)
NOW = 1e6
NOON = datetime(2026, 11, 25, 12, 0)
BUSY_PART = 0.6
IDLE_PART = 0.25


@dataclass(frozen=True, slots=True)
class Shape:
    """What a fleet is like; parts of a host's memory and of its CPUs."""

    about: str
    idle_hosts_part: float
    """Of the hosts: those of which `consolidate` may empty one."""
    busy_part: float = BUSY_PART
    idle_part: float = IDLE_PART
    busy_cpu_part: float = 0.4
    idle_cpu_part: float = 0.15
    fixed_part: float = 0.005
    """Of the VMs: never moved."""
    sizes: tuple[int, ...] = SIZES
    most_percent: float = 65.0


SHAPES = (
    Shape("one host in ten is idle", 0.1),
    Shape("all hosts are idle", 1.0),
    Shape("idle, and a VM on each is never moved", 1.0, fixed_part=0.2),
    Shape("one in ten is idle, the others full", 0.1, busy_part=0.645, idle_part=0.29,
          most_percent=32),
    Shape("all are idle, hardly any room", 1.0, idle_part=0.29, most_percent=30.5),
    Shape("all are idle, room for the small VMs", 1.0, idle_part=0.29, most_percent=36),
    Shape("all are idle, room in all, CPUs at the limit", 1.0, idle_cpu_part=0.295,
          most_percent=30.5, idle_part=0.15),
    Shape("all are idle, little CPU left", 1.0, idle_cpu_part=0.28, most_percent=34,
          idle_part=0.2),
    Shape("all are idle, equal VMs, one fits on each host", 1.0, idle_part=0.29,
          sizes=(8,), most_percent=32),
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
    needs = tuple(
        VmNeed(f"v{n}", f"vm-{n}", names[home], dice.choice(shape.sizes) * GIB,
               dice.uniform(0.2, 2.0), tags=_tags(dice, n, home, vms, names, shape))
        for n, home in enumerate(homes)
    )  # fmt: skip
    rooms, loads = [], []
    for name, size, low in zip(names, sizes, idle, strict=True):
        here = [vm for vm in needs if vm.host == name]
        dice_part = dice.uniform(0.95, 1.05)
        part = min(0.299 if low else 1.0, (shape.idle_part if low else shape.busy_part) * dice_part)
        cpu_part = (shape.idle_cpu_part if low else shape.busy_cpu_part) * dice_part
        used = sum(vm.memory_bytes for vm in here)
        cpus = sum(vm.cpus_used for vm in here)
        room = HostRoom(name, int(max(1, used) / part), int(max(1, used) / part) - used,
                        max(1, round(cpus / cpu_part)), cpus, link_bytes_s=1e9 * size)  # fmt: skip
        rooms.append(room)
        loads.append(HostLoad(name, 100 * cpus / room.cpus, 100 * used / room.memory_bytes))
    return (
        RuleFleet(tuple(rooms), needs),
        tuple(LoadRound(NOW - 60 + 20 * n, tuple(loads)) for n in range(3)),
    )


def _tags(
    dice: random.Random, number: int, home: int, vms: int, names: list[str], shape: Shape
) -> Tags:
    kind = number % 12
    return Tags(
        never=dice.random() < shape.fixed_part,
        together=(f"t{home}-{dice.randrange(3)}",) if kind == 0 else (),
        apart=(f"a{number}",) if kind == 1 else (),
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
        pack = Rule("pack", RuleKind.CONSOLIDATE, most_percent=shape.most_percent)
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
