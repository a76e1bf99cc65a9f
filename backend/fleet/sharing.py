"""Which disks the hosts seem to share, for the tables: looked at again as disks come and go."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.model import Disk, HostState, Vm
from backend.remote.identity import FileMark, file_marks, looks_shared

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
_CHECK_EVERY_S = 2.0
_PATHS_AT_ONCE = 200


class Sharing:
    """What is known of each disk's file on each host."""

    def __init__(self, hosts: Mapping[str, HostWatch], changed: Callable[[bool], None]) -> None:
        self._hosts = hosts
        self._changed = changed
        self._shared: dict[tuple[str, str], bool | None] = {}

    async def run(self) -> None:
        """Look whenever the disks or the hosts that answer have changed, and now and then."""
        loop = asyncio.get_running_loop()
        seen: object = None
        looked_at = -LOOK_EVERY_S
        while True:
            now = (self._paths(), tuple(self._asked()))
            due = loop.time() - looked_at > LOOK_EVERY_S
            if now != seen or due:
                seen, looked_at = now, loop.time()
                try:
                    await self._look(*now)
                except Exception:
                    log.exception("looking at disks")
            await asyncio.sleep(_CHECK_EVERY_S)

    def mark(self, vm: Vm) -> Vm:
        """`vm` with what is known of its disks' sharing."""
        if not vm.disks:
            return vm
        return replace(vm, disks=tuple(self._marked(disk, vm.host) for disk in vm.disks))

    def _marked(self, disk: Disk, host: str) -> Disk:
        if disk.kind == "network":
            return replace(disk, shared=True)
        shared = self._shared.get((host, disk.source or ""))
        return disk if shared is disk.shared else replace(disk, shared=shared)

    def _asked(self) -> list[str]:
        return [
            name
            for name, host in self._hosts.items()
            if host.host.state is HostState.UP and host.shell is not None
        ]

    def _paths(self) -> tuple[tuple[str, str], ...]:
        """(host, path) of every disk that is a file or device."""
        return tuple(
            (vm.host, disk.source)
            for host in self._hosts.values()
            for vm in host.vms
            for disk in vm.disks
            if disk.source and disk.source.startswith("/")
        )

    async def _look(self, owned: tuple[tuple[str, str], ...], asked: tuple[str, ...]) -> None:
        paths = sorted({path for _, path in owned})
        found = await asyncio.gather(*(self._marks(name, paths) for name in asked))
        by_host = {name: marks for name, marks in zip(asked, found, strict=True) if marks}
        self._shared = {
            (host, path): looks_shared({name: m[path] for name, m in by_host.items()}, host)
            for host, path in owned
        }
        self._changed(False)

    async def _marks(self, name: str, paths: list[str]) -> dict[str, FileMark | None]:
        shell = self._hosts[name].shell
        marks: dict[str, FileMark | None] = {}
        try:
            for at in range(0, len(paths), _PATHS_AT_ONCE):
                if shell is not None:
                    marks |= await file_marks(shell, paths[at : at + _PATHS_AT_ONCE])
        except FerryError as error:
            log.info("looking at disks on %s: %s", name, error)
            return {}
        return marks
