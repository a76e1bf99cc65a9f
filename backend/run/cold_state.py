"""The small files that a VM's firmware and TPM keep on its host: carried over SSH, through the
engine's memory, and shown to be equal.

They are kilobytes (64 MiB of zeros at most, packed), and hold secrets: they go from one
encrypted connection into the other and are nowhere written or logged.
"""

import shlex
from dataclasses import dataclass

from backend.errors import FerryError, HypervisorError
from backend.fleet.host import HostWatch
from backend.hypervisor.definitions import WholeVm
from backend.remote.shell import CommandResult, Shell, run_script
from backend.run.told import Told

LIMIT_S = 30.0
TPM_DIRECTORY = "/var/lib/libvirt/swtpm"

_PACK = r"""
set -e
cd /
for path; do [ -e "./$path" ] || exit 3; done
tar -czf - -- "$@" | base64
"""
_THERE = r"""
cd /
for path; do
    [ -e "./$path" ] || continue
    printf 'there %s\n' "$path"
done
"""
_SUMS = r"""
cd /
for path; do
    [ -e "./$path" ] || { echo "missing $path"; continue; }
    find "./$path" -type f ! -name '*.lock' -exec sha256sum '{}' ';' | sort
done
"""
_REMOVE = r"""
cd /
for path; do rm -rf -- "./$path"; done
"""


@dataclass
class SmallState:
    """NVRAM and TPM files of one VM on its way."""

    told: Told
    source: HostWatch
    target: HostWatch

    async def carry(self, whole: WholeVm) -> None:
        """Copy what there is. Raises FerryError; nothing that exists at the target is replaced."""
        wanted = _paths(whole, self.told.state.uuid)
        if not wanted:
            return
        here, there = self._shell(self.source), self._shell(self.target)
        wanted = await self._present(here, wanted)
        sums = await self._sums(here, wanted)
        if sums == await self._sums(there, wanted):
            return
        found = await run_script(there, _THERE, *wanted, timeout_s=LIMIT_S)
        if found.stdout.strip():
            what = ", ".join(f"/{path}" for path in wanted)
            raise HypervisorError(
                f"{self.target.name} has other files at {what} already.",
                "Look whose they are, and move them away there.",
            )
        self.told.update(carried=wanted)
        names = " and ".join(f"/{path}" for path in wanted)
        self.told.note("state", f"carrying {names} to {self.target.name}")
        packed = await run_script(here, _PACK, *wanted, timeout_s=LIMIT_S)
        self._must(packed, self.source.name, f"pack {names}")
        # The packed files are the command's input, never a word of it: those are seen by others.
        unpack = await there.run(f"base64 -d | tar -C / {_KEEP} -xzf -", LIMIT_S, packed.stdout)
        self._must(unpack, self.target.name, f"unpack {names}")
        if sums != await self._sums(there, wanted):
            raise HypervisorError(f"{names} on {self.target.name} are not equal to the source's.")

    async def remove(self) -> tuple[str, ...]:
        """The VM stayed: take away what was carried. Returns what is left."""
        made = self.told.state.carried
        if not made:
            return ()
        by_hand = shlex.join(["rm", "-rf", "--", *(f"/{path}" for path in made)])
        try:
            done = await run_script(self._shell(self.target), _REMOVE, *made, timeout_s=LIMIT_S)
            self._must(done, self.target.name, "remove them")
        except FerryError:
            return (f"firmware and TPM files on {self.target.name}: {by_hand} there",)
        self.told.update(carried=())
        return ()

    async def _present(self, shell: Shell, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """A VM that was never started has none yet."""
        found = await run_script(shell, _THERE, *wanted, timeout_s=LIMIT_S)
        there = {line.removeprefix("there ") for line in found.stdout.splitlines()}
        return tuple(path for path in wanted if path in there)

    async def _sums(self, shell: Shell, wanted: tuple[str, ...]) -> str:
        found = await run_script(shell, _SUMS, *wanted, timeout_s=LIMIT_S)
        self._must(found, shell.name, "hash the firmware's files")
        return found.stdout

    def _shell(self, host: HostWatch) -> Shell:
        if host.shell is None:
            raise HypervisorError(
                f"Its firmware's files cannot be carried: there is no SSH to {host.name}.",
                "Give the host an `ssh` in the fleet file.",
            )
        return host.shell

    def _must(self, done: CommandResult, host: str, what: str) -> None:
        if done.exit_status != 0:
            said = " ".join(done.stderr.split())[:200]
            raise HypervisorError(f"{host} could not {what}: {said or done.exit_status}.")


_KEEP = "--keep-old-files"


def _paths(whole: WholeVm, uuid: str) -> tuple[str, ...]:
    tpm = f"{TPM_DIRECTORY}/{uuid}" if whole.tpm else None
    return tuple(path.lstrip("/") for path in (whole.nvram, tpm) if path)
