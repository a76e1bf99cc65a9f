"""A host's CPU, memory and link, each second: what libvirt does not tell or tells dearly.

One long-lived command per host prints a block a second out of /proc and /sys with nothing but
/bin/sh; the figures are differences of two blocks. Interfaces that carry others (bridges, bonds,
VLANs) or that lead into a guest (tap) are left out: nothing is counted twice.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from backend.errors import BadDocument
from backend.remote.ssh import SshHost

PERIOD_S = 1.0

FACTS_SCRIPT = r"""
export LC_ALL=C
cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || cpus=$(grep -c '^processor' /proc/cpuinfo)
while :; do
  read -r up _ </proc/uptime && echo "up $up" || exit 1
  read -r line </proc/stat && echo "$line" || exit 1
  echo "cpus $cpus"
  # "some avg10=0.00 avg60=0.00 avg300=0.00 total=123"; kernels without PSI have no such file.
  read -r line 2>/dev/null </proc/pressure/cpu && echo "psi ${line##*total=}"
  while read -r key value _; do
    case $key in
      MemTotal:) echo "total $value" ;;
      MemAvailable:) echo "free $value"; break ;;
    esac
  done </proc/meminfo
  for d in /sys/class/net/*; do
    read -r type <"$d/type" || continue
    if [ "$type" != 1 ] || [ -e "$d/tun_flags" ] || [ -e "$d/bridge" ]; then continue; fi
    set -- "$d"/lower_*
    [ -e "$1" ] && continue
    speed=-1
    # A veth says 10 Gbit/s whatever carries it: only a device's own word counts.
    [ -e "$d/device" ] && read -r speed <"$d/speed"
    read -r rx <"$d/statistics/rx_bytes" || continue
    read -r tx <"$d/statistics/tx_bytes" || continue
    echo "net ${d##*/} $rx $tx ${speed:--1}"
  done 2>/dev/null
  echo end
  sleep 1 || exit 0
done
"""
"""Ends by itself when nobody reads any more (SIGPIPE at the next block)."""

_MAX_INTERFACES = 512
_MBIT_BYTES = 125_000


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A host's load over the last period."""

    cpu_percent: float | None
    """Of all CPUs together, 0-100."""
    pressure_percent: float | None
    """Of the time in which something waited for a CPU."""
    cpus: int
    memory_bytes: int
    memory_used_bytes: int
    """Caches counted as free."""
    link_out_bytes_s: float | None
    link_in_bytes_s: float | None
    link_speed_bytes_s: float | None
    """Of the fastest interface that is up; None where none tells."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface's counters."""

    in_bytes: int
    out_bytes: int
    speed_mbit: int
    """-1 where it does not say."""


@dataclass(frozen=True, slots=True)
class Counters:
    """One block: counters since boot, at one instant of the host's own clock."""

    at_s: float
    cpu_busy: float
    cpu_total: float
    """Both in the same unit, whichever."""
    cpus: int
    memory_bytes: int
    memory_free_bytes: int
    interfaces: dict[str, Interface]
    waited_us: int | None = None
    """Time in which something waited for a CPU; None where the kernel does not tell."""


def parse_block(lines: list[str]) -> Counters:
    """Read one block of `FACTS_SCRIPT`, without its `end`.

    Raises:
        BadDocument: It is not one.
    """
    words: dict[str, list[str]] = {}
    interfaces: dict[str, Interface] = {}
    try:
        for line in lines:
            key, *rest = line.split()
            if key == "net" and len(interfaces) < _MAX_INTERFACES:
                interfaces[rest[0]] = Interface(int(rest[1]), int(rest[2]), int(rest[3]))
            else:
                words[key] = rest
        ticks = [int(word) for word in words["cpu"][:8]]
        total = sum(ticks)
        return Counters(
            at_s=float(words["up"][0]),
            cpu_busy=total - ticks[3] - ticks[4],
            cpu_total=total,
            cpus=max(1, int(words["cpus"][0])),
            memory_bytes=int(words["total"][0]) * 1024,
            memory_free_bytes=int(words["free"][0]) * 1024,
            interfaces=interfaces,
            waited_us=int(words["psi"][0]) if "psi" in words else None,
        )
    except (KeyError, IndexError, ValueError):
        raise BadDocument("A host's load could not be read: its block is not complete.") from None


def facts_between(before: Counters | None, now: Counters) -> HostFacts:
    """The load between two blocks; rates are None without an earlier one."""
    out, into = _rates(before, now)
    speeds = [i.speed_mbit for i in now.interfaces.values() if 0 < i.speed_mbit < 10_000_000]
    return HostFacts(
        cpu_percent=_cpu_percent(before, now),
        pressure_percent=_pressure_percent(before, now),
        cpus=now.cpus,
        memory_bytes=now.memory_bytes,
        memory_used_bytes=max(0, now.memory_bytes - now.memory_free_bytes),
        link_out_bytes_s=out,
        link_in_bytes_s=into,
        link_speed_bytes_s=float(max(speeds) * _MBIT_BYTES) if speeds else None,
    )


def _cpu_percent(before: Counters | None, now: Counters) -> float | None:
    total = now.cpu_total - before.cpu_total if before else 0.0
    if before is None or total <= 0:
        return None
    return round(min(100.0, max(0.0, 100.0 * (now.cpu_busy - before.cpu_busy) / total)), 1)


def _pressure_percent(before: Counters | None, now: Counters) -> float | None:
    if before is None or before.waited_us is None or now.waited_us is None:
        return None
    elapsed_us = 1e6 * (now.at_s - before.at_s)
    if elapsed_us <= 0:
        return None
    share = 100.0 * (now.waited_us - before.waited_us) / elapsed_us
    return round(min(100.0, max(0.0, share)), 1)


def _rates(before: Counters | None, now: Counters) -> tuple[float | None, float | None]:
    """Bytes/s out and in, over the interfaces that were there both times."""
    elapsed_s = now.at_s - before.at_s if before else 0.0
    if before is None or elapsed_s <= 0:
        return None, None
    out = into = 0
    for name, interface in now.interfaces.items():
        was = before.interfaces.get(name)
        # A counter that fell belongs to another interface of the same name.
        if was and interface.out_bytes >= was.out_bytes and interface.in_bytes >= was.in_bytes:
            out += interface.out_bytes - was.out_bytes
            into += interface.in_bytes - was.in_bytes
    return out / elapsed_s, into / elapsed_s


async def remote_facts(ssh: SshHost) -> AsyncIterator[HostFacts]:
    """The host's load about once a second, until the connection is lost or the iterator closed.

    Raises:
        HostUnreachable: The connection is lost.
        BadDocument: The host has no /proc, or prints something else.
    """
    before: Counters | None = None
    block: list[str] = []
    async for line in ssh.stream("/bin/sh -s", FACTS_SCRIPT):
        if line.strip() != "end":
            block.append(line)
            if len(block) > _MAX_INTERFACES + 16:
                raise BadDocument(f"The load of {ssh.name} could not be read: no end to its block.")
            continue
        now = parse_block([line for line in block if line.strip()])
        block = []
        yield facts_between(before, now)
        before = now
    raise BadDocument(f"{ssh.name} stopped telling its load.", "It needs /bin/sh and /proc.")


async def local_facts() -> AsyncIterator[HostFacts]:
    """The same of this machine."""
    before: Counters | None = None
    while True:
        now = local_counters()
        yield facts_between(before, now)
        before = now
        await asyncio.sleep(PERIOD_S)


def waited_us(pressure: Path = Path("/proc/pressure/cpu")) -> int | None:
    """This machine's time in which something waited for a CPU; None where it does not tell."""
    try:
        some = pressure.read_text().splitlines()[0]
        return int(some.rpartition("total=")[2])
    except (OSError, ValueError, IndexError):
        return None


def local_counters(net: Path = Path("/sys/class/net")) -> Counters:
    """This machine's counters (a fraction of a millisecond: no call that waits)."""
    times = psutil.cpu_times()
    # Linux counts guest time in user time already.
    total = sum(times[:8])
    memory = psutil.virtual_memory()
    stats = psutil.net_if_stats()
    return Counters(
        at_s=time.monotonic(),
        cpu_busy=total - times.idle - getattr(times, "iowait", 0.0),
        cpu_total=total,
        cpus=psutil.cpu_count() or 1,
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        interfaces={
            name: Interface(
                io.bytes_recv, io.bytes_sent, _speed_mbit(net / name, stats[name].speed)
            )
            for name, io in psutil.net_io_counters(pernic=True).items()
            if name in stats and is_uplink(net / name)
        },
        waited_us=waited_us(),
    )


def _speed_mbit(interface: Path, said: int) -> int:
    """What a device says of itself; a veth says 10 Gbit/s whatever carries it."""
    return said if said > 0 and (interface / "device").exists() else -1


def is_uplink(interface: Path) -> bool:
    """An Ethernet interface that carries no other and leads into no guest."""
    try:
        ethernet = (interface / "type").read_text().strip() == "1"
    except OSError:
        return False
    inner = (interface / "tun_flags").exists() or (interface / "bridge").exists()
    return ethernet and not inner and not any(interface.glob("lower_*"))
