"""A disk mirrored under a running VM by us, and the same image by plain tools: figures and ratios.

    VIRT_FERRY_LAB=NAME .venv/bin/virt-ferry lab up --hosts 2
    .venv/bin/python tests/bench/live_mirror.py NAME [shaped] [unshaped]

The VM has no operating system and 64 MiB of memory, its disk is full of random bytes. The mirror's
time is that of its phase, from libvirt's migrate call to the first byte of memory, TLS and the
opening of the target's server included. Its rival is `qemu-img convert` over NBD without TLS, the
fsync at the target included (cold_copy.py). In turns, three times each; five minutes in all.
Goals: 0.9 of a link of 200 Mbit/s, 0.8 of the rival on a link that limits nothing.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.benchlab import COMMAND  # noqa: E402  # run as a script: the path comes first
from tests.bench.cold_copy import (  # noqa: E402
    FOLDER,
    LINK_BITS_S,
    MIB,
    NO_LIMIT,
    Bench,
    in_turns,
)

VM = "mirror-1"
WHAT = ("shaped", "unshaped")
ENGINE_SEES_S = 30.0


class MirrorBench(Bench):
    """And a VM that runs from the image."""

    @contextmanager
    def vm(self, name: str) -> Iterator[None]:
        """It runs at the first host; both have a pool for the image."""
        document = self.lab.fleet_file.with_name("mirror.xml")
        document.write_text(domain(f"{FOLDER}/{name}"))
        hosts = self.lab.hosts[:2]
        for host in hosts:
            self.bench.virsh(host, "pool-create-as", "bench", "dir", "--target", FOLDER, "--build")
        self.bench.virsh(hosts[0], "define", str(document))
        try:
            yield
        finally:
            for host in hosts:
                for words in (("destroy", VM), ("undefine", VM), ("pool-destroy", "bench")):
                    subprocess.run(
                        ["virsh", "-q", "-c", host.libvirt_uri, *words],
                        capture_output=True,
                        check=False,
                    )
            document.unlink()

    async def mirror(self, name: str) -> float:
        """Seconds of the disk's phase of one move; the VM is put back where it was."""
        here, there = self.lab.hosts[:2]
        (self.folders[1] / name).unlink(missing_ok=True)
        self.bench.virsh(there, "pool-refresh", "bench")
        self.bench.virsh(here, "start", VM)
        await self._seen(here.name)
        words = ("migrate", VM, "--to", there.name, "--disk", "vda=bench", "--json")
        said = await asyncio.to_thread(self._ferry, *words)
        events = [json.loads(line) for line in said.splitlines()]
        verdict = events[-1]
        if verdict.get("outcome") != "moved":
            sys.exit(f"it did not move: {verdict}")
        self.bench.virsh(there, "destroy", VM)
        self.bench.virsh(there, "undefine", VM)
        self.bench.virsh(here, "define", str(self.lab.fleet_file.with_name("mirror.xml")))
        # So little memory may be over between two samples: then it is the whole migration's time.
        passes = (one["t_s"] for one in events if one.get("pass_number"))
        return float(next(passes, verdict["total_s"]))

    async def _seen(self, host: str) -> None:
        async with asyncio.timeout(ENGINE_SEES_S):
            while True:
                vms = json.loads(await asyncio.to_thread(self._ferry, "vms", "--json"))
                if any((one["name"], one["host"]) == (VM, host) for one in vms):
                    return
                await asyncio.sleep(0.5)

    def _ferry(self, *words: str) -> str:
        done = subprocess.run(
            [*COMMAND, *words],
            capture_output=True,
            text=True,
            env=self.bench.environment,
            cwd=ROOT,
            check=False,
        )
        return done.stdout


def domain(path: str) -> str:
    """Of a VM that waits in its firmware."""
    return f"""
    <domain type='qemu'>
      <name>{VM}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
      <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
      <devices>
        <disk type='file' device='disk'>
          <driver name='qemu' type='raw' cache='none'/>
          <source file='{path}'/><target dev='vda' bus='virtio'/>
        </disk>
      </devices>
    </domain>
    """


async def compare(bench: MirrorBench, data: int) -> dict[str, float]:
    with bench.image(data) as name, bench.vm(name):
        ways = {
            "live mirror, TLS": lambda: bench.mirror(name),
            "convert": lambda: bench.convert(name),
        }
        return await in_turns(ways, data)


async def shaped(bench: MirrorBench) -> None:
    data = 1024 * MIB
    bench.bench.link(f"{LINK_BITS_S // 10**6}mbit")
    print(f"{data // MIB} MiB full, link {LINK_BITS_S / 1e6:.0f} Mbit/s")
    rates = await compare(bench, data)
    mirror = rates["live mirror, TLS"]
    print(f"  mirror / link    {mirror / (LINK_BITS_S / 8):.2f}   (goal 0.90)")
    print(f"  mirror / convert {mirror / rates['convert']:.2f}")
    bench.bench.link(NO_LIMIT)


async def unshaped(bench: MirrorBench) -> None:
    data = 2048 * MIB
    bench.bench.link(NO_LIMIT)
    print(f"{data // MIB} MiB full, link not limited")
    rates = await compare(bench, data)
    print(f"  mirror / convert {rates['live mirror, TLS'] / rates['convert']:.2f}   (goal 0.80)")


async def main(name: str, *what: str) -> None:
    bench = MirrorBench(name)
    await bench.connect()
    try:
        for part in what or WHAT:
            await globals()[part](bench)
    finally:
        bench.bench.stop_engine()
        await asyncio.gather(bench.source.close(), bench.target.close())


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(WHAT):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
