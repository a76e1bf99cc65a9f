"""Copying an image by us and by plain tools, side by side on the lab: prints figures and ratios.

    VIRT_FERRY_LAB=NAME .venv/bin/virt-ferry lab up --hosts 2
    .venv/bin/python tests/bench/cold_copy.py NAME [shaped] [unshaped] [libvirt] [memory]

Ours is TLS, connections and daemons and a last fsync included. Its rival is `qemu-img convert` from
host to host over NBD without TLS, the fsync at the target included. In turns, three
times each; ten minutes in all.
Goals: 0.9 of a link of 200 Mbit/s, 0.8 of the rival on a link that limits nothing.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from backend.model import CopyRoute  # noqa: E402  # run as a script: the path comes first
from backend.remote.image_copy import CopyOrder, ImageCopy  # noqa: E402
from backend.remote.ssh import SshHost  # noqa: E402
from tests.bench.benchlab import BenchLab  # noqa: E402

MIB = 1024 * 1024
FOLDER = "/var/lib/libvirt/images/bench"
RIVAL_PORT = 49170
ROUNDS = 3
LINK_BITS_S = 200_000_000
NO_LIMIT = "40gbit"
WHAT = ("shaped", "unshaped", "libvirt", "memory")


class Bench:
    """Two hosts, their folders of images, and ways to copy between them."""

    def __init__(self, name: str) -> None:
        self.bench = BenchLab(name)
        self.lab = self.bench.lab
        self.source, self.target = (
            SshHost(host.name, str(self.lab.fleet_file.with_name("ssh_config")))
            for host in self.lab.hosts[:2]
        )
        self.folders = [host.state / "lib" / "images" / "bench" for host in self.lab.hosts[:2]]

    async def connect(self) -> None:
        for ssh in (self.source, self.target):
            await ssh.connect()

    @contextmanager
    def image(self, data: int, length: int | None = None) -> Iterator[str]:
        """An image of random data spread over a length; its name."""
        make_image(self.folders[0], data, length or data)
        try:
            yield "image.raw"
        finally:
            for folder in self.folders:
                for file in folder.glob("*"):
                    file.unlink()

    async def ours(self, name: str, route: CopyRoute = CopyRoute.DIRECT) -> float:
        """Seconds of a copy."""
        fresh(self.folders[1] / name, 0)
        paths = (f"{FOLDER}/{name}", f"{FOLDER}/{name}")
        order = CopyOrder(*paths, route=route, target_address=self.target.name)
        begun = time.monotonic()
        await ImageCopy(self.source, self.target, order, lambda _done, _total: None).run()
        return time.monotonic() - begun

    async def convert(self, name: str) -> float:
        """Seconds of `qemu-img convert` to an export of the target, and its fsync."""
        fresh(self.folders[1] / name, length_of(self.folders[0] / name))
        there, port = f"{FOLDER}/{name}", RIVAL_PORT
        serve = f"qemu-nbd --fork -f raw -p {port} -x e --discard=unmap --cache=writeback {there}"
        await self._must(self.target, serve)
        address = f"nbd://{self.target.name}:{port}/e"
        begun = time.monotonic()
        copy = f"qemu-img convert -n -f raw -O raw {FOLDER}/{name} {address}"
        await self._must(self.source, copy)
        await self._must(self.target, f"sync {there}")
        return time.monotonic() - begun

    async def by_libvirt(self, name: str) -> float:
        """Seconds of `virsh vol-download` into `vol-upload`, through this machine."""
        hosts = self.lab.hosts
        length = length_of(self.folders[0] / name)
        for host in hosts[:2]:
            self.bench.virsh(host, "pool-create-as", "bench", "dir", "--target", FOLDER)
        try:
            self.bench.virsh(hosts[1], "vol-create-as", "bench", "up.raw", f"{length}b")
            begun = time.monotonic()
            await asyncio.to_thread(self._pipe, name)
            await self._must(self.target, f"sync {FOLDER}/up.raw")
            return time.monotonic() - begun
        finally:
            for host in hosts[:2]:
                self.bench.virsh(host, "pool-destroy", "bench")

    def _pipe(self, name: str) -> None:
        here, there = (
            ["virsh", "-q", "-c", f"qemu+ssh://{host.name}/system?{self._ssh()}"]
            for host in self.lab.hosts[:2]
        )
        way = self.folders[1] / "way"
        os.mkfifo(way)
        down = [*here, "vol-download", "--pool", "bench", name, str(way)]
        with subprocess.Popen(down) as process:
            subprocess.run(
                [*there, "vol-upload", "--pool", "bench", "up.raw", str(way)], check=True
            )
        assert process.returncode == 0

    def _ssh(self) -> str:
        """A command that libvirt's ssh transport calls as it would call ssh."""
        wrapper = self.folders[1] / "ssh"
        config = self.lab.fleet_file.with_name("ssh_config")
        wrapper.write_text(f'#!/bin/sh\nexec ssh -F {config} "$@"\n')
        wrapper.chmod(0o700)
        return f"command={wrapper}"

    async def _must(self, ssh: SshHost, command: str) -> None:
        done = await ssh.run(command, 600.0)
        if done.exit_status != 0:
            sys.exit(f"{ssh.name}: {command}: {done.stderr}")


def make_image(folder: Path, data: int, length: int) -> None:
    """In eight pieces, evenly spread."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "image.raw", "wb") as file:
        file.truncate(length)
        for piece in range(8):
            file.seek(piece * (length // 8))
            for _ in range(data // 8 // MIB):
                file.write(os.urandom(MIB))
        os.fsync(file.fileno())


def fresh(path: Path, length: int) -> None:
    """An empty file of that length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(length)


async def in_turns(
    ways: Mapping[str, Callable[[], Awaitable[float]]], data: int
) -> dict[str, float]:
    """Bytes/s of each way, the median of its rounds."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            rates[name].append(data / await way())
    for name, found in rates.items():
        each = ", ".join(f"{rate / 1e6:.1f}" for rate in found)
        print(f"  {name:28} {statistics.median(found) / 1e6:7.1f} MB/s   ({each})", flush=True)
    return {name: statistics.median(found) for name, found in rates.items()}


async def shaped(bench: Bench) -> None:
    data = 1024 * MIB
    bench.bench.link(f"{LINK_BITS_S // 10**6}mbit")
    print(f"{data // MIB} MiB full, link {LINK_BITS_S / 1e6:.0f} Mbit/s")
    with bench.image(data) as name:
        ways = {"ours, TLS": lambda: bench.ours(name), "convert": lambda: bench.convert(name)}
        rates = await in_turns(ways, data)
    print(f"  ours / link    {rates['ours, TLS'] / (LINK_BITS_S / 8):.2f}   (goal 0.90)")
    print(f"  ours / convert {rates['ours, TLS'] / rates['convert']:.2f}")
    bench.bench.link(NO_LIMIT)


async def unshaped(bench: Bench) -> None:
    data = 2048 * MIB
    bench.bench.link(NO_LIMIT)
    print(f"{data // MIB} MiB full, link not limited")
    with bench.image(data) as name:
        ways = {"ours, TLS": lambda: bench.ours(name), "convert": lambda: bench.convert(name)}
        rates = await in_turns(ways, data)
    print(f"  ours / convert {rates['ours, TLS'] / rates['convert']:.2f}   (goal 0.80)")


async def libvirt(bench: Bench) -> None:
    data = 256 * MIB
    bench.bench.link(NO_LIMIT)
    print(f"{data // MIB} MiB full, through this machine")
    with bench.image(data) as name:
        for label, seconds in (
            ("ours, relayed", await bench.ours(name, CopyRoute.RELAY)),
            ("vol-download | vol-upload", await bench.by_libvirt(name)),
        ):
            print(f"  {label:28} {data / seconds / 1e6:7.1f} MB/s", flush=True)


async def memory(bench: Bench) -> None:
    print("memory of this process: before, most meanwhile")
    for label, data, length, route in (
        ("20 GiB with 1 GiB of data", 1024, 20480, CopyRoute.DIRECT),
        ("2 GiB full", 2048, 2048, CopyRoute.DIRECT),
        ("256 MiB full, relayed", 256, 256, CopyRoute.RELAY),
        ("1 GiB full, relayed", 1024, 1024, CopyRoute.RELAY),
    ):
        with bench.image(data * MIB, length * MIB) as name:
            before = reset_peak()
            seconds = await bench.ours(name, route)
            most = status("VmHWM")
            there = (bench.folders[1] / name).stat().st_blocks * 512
            print(
                f"  {label:28} {before:6.1f} {most:6.1f} MB   {seconds:5.1f} s, "
                f"{there / MIB:.0f} MiB allocated at the target",
                flush=True,
            )


def length_of(path: Path) -> int:
    """In bytes."""
    return path.stat().st_size


def reset_peak() -> float:
    """Make this process forget the most memory it had; what it has, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(field: str) -> float:
    """A figure of this process, in MB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


async def main(name: str, *what: str) -> None:
    bench = Bench(name)
    await bench.connect()
    for part in what or WHAT:
        await globals()[part](bench)
    await asyncio.gather(bench.source.close(), bench.target.close())


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(WHAT):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
