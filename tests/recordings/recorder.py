"""What the scenarios are recorded with: the commands of the lab, and who writes down what comes."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from backend.model import MoveOptions, Plan
from backend.service.client import EngineClient
from backend.service.protocol import (
    Change,
    MakePlan,
    MigrationChanged,
    PlanReply,
    Reply,
    Start,
    Started,
)

HOSTS = ("kvm-a", "kvm-b", "kvm-c")
AFTER_S = 5.0
"""Recorded after the end."""


def lab(*words: str) -> str:
    """Run a lab command."""
    command = [sys.executable, "-m", "backend.lab", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Recorder:
    """Writes what one connection receives."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self._lines: list[str] = []
        self._began = time.monotonic()
        self._begun = False
        self._seen = asyncio.Condition()
        self._changes: list[Change] = []

    async def record(self) -> None:
        """Until cancelled."""
        async for change in self.client.changes():
            self._write({"change": msgspec.to_builtins(change)})
            async with self._seen:
                self._changes.append(change)
                self._seen.notify_all()

    async def plans(self, *vms: str) -> tuple[Plan, ...]:
        """Ask for plans to every target and keep the answer."""
        reply = await self.client.call(MakePlan(vms=vms))
        assert isinstance(reply, PlanReply)
        self._write({"plans": msgspec.to_builtins(reply.plans)})
        return reply.plans

    def note(self, reply: Reply) -> None:
        """Keep an answer."""
        self._write({"reply": msgspec.to_builtins(reply)})

    async def start(self, vm: str, target: str, policy: str | None = None) -> str:
        """Start a migration; its id."""
        reply = await self.client.call(Start((vm,), target, MoveOptions(policy=policy)))
        assert isinstance(reply, Started), reply
        return reply.migrations[0].id

    async def until(self, happened: Callable[[Change], bool]) -> None:
        """Wait for a change."""
        async with self._seen:
            await self._seen.wait_for(lambda: any(happened(c) for c in self._changes))

    async def verdict(self, *ids: str) -> None:
        """Wait until all have one, and a little longer."""
        for migration_id in ids:
            await self.until(
                lambda c, wanted=migration_id: (  # type: ignore[misc]
                    isinstance(c, MigrationChanged)
                    and c.migration.id == wanted
                    and c.migration.verdict is not None
                )
            )
        await asyncio.sleep(AFTER_S)

    def _write(self, fields: dict[str, object]) -> None:
        t = round(time.monotonic() - self._began, 3)
        epoch = {} if self._begun else {"epoch": round(time.time() - t, 3)}
        self._begun = True
        self._lines.append(json.dumps({"t": t, **epoch, **fields}) + "\n")

    def packed(self) -> bytes:
        """All of it as a file's content."""
        return gzip.compress("".join(self._lines).encode(), mtime=0)


def virsh(host: str, *words: str) -> None:
    """Run virsh on a host."""
    status = json.loads(lab("status", "--json"))
    uri = next(str(one["libvirt_uri"]) for one in status["hosts"] if one["name"] == host)
    subprocess.run(["virsh", "-c", uri, *words], check=True, capture_output=True)


def folder_of(host: str) -> Path:
    """What is the lab's of one host."""
    return Path(json.loads(lab("status", "--json"))["fleet"]).parent / "hosts" / host


def fill(host: str, vm: str, mib: int) -> None:
    """Random data into the image of a VM that is shut off."""
    images = (folder_of(host) / "lib" / "images").glob(f"{vm}*.qcow2")
    with tempfile.NamedTemporaryFile() as data:
        data.write(os.urandom(mib << 20))
        data.flush()
        for image in images:
            write = f"write -s {data.name} 0 {mib}M"
            subprocess.run(["qemu-io", "-c", write, str(image)], check=True, capture_output=True)


def host_of(vm: str) -> str:
    """Where a VM is now."""
    status = json.loads(lab("status", "--json"))
    return next(str(one["host"]) for one in status["vms"] if one["name"] == vm)


def other_than(*hosts: str) -> str:
    """A host that is none of these."""
    return next(host for host in HOSTS if host not in hosts)
