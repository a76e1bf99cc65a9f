"""A digest of a file's content, made where the file lies: equal digests, equal files.

Two kinds, which cannot be compared: `SPARSE` (python3 there; holes are not read) and `WHOLE`
(sha256sum, which reads them all). `digest_kind` says which one both hosts can do.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from pathlib import Path

from backend.errors import CallTimedOut, CopyFailed, HostUnreachable, plain
from backend.remote.daemon import storage_daemon
from backend.remote.hold import add_image, lock_file
from backend.remote.images import absolute, file_stamp
from backend.remote.nbd_link import export_node, serve
from backend.remote.nodes import unix
from backend.remote.process import AnyHost, own_connection, start, together
from backend.remote.shell import Shell, run_script

_PROGRAM = Path(__file__).with_name("digest_program.py")
_HAS_PYTHON = """
command -v python3 >/dev/null 2>&1 &&
exec python3 -I -c 'import hashlib, os, sys; os.SEEK_DATA; sys.exit(sys.version_info < (3, 6))'
"""
_WHOLE = 'exec sha256sum < "$1"'
# The end of its input is the end of us: then what runs is killed.
_GUARD = r"""
exec 3<&0
"$@" </dev/null 2>&1 &
child=$!
{ cat <&3; kill -9 "$child"; } >/dev/null 2>&1 &
guard=$!
wait "$child"
kill "$guard"
"""
_SILENCE_S = 180.0
_SLOWEST_BYTES_S = 5_000_000
_AT = re.compile(r"at (\d{1,19})")
_DIGEST = re.compile(r"digest ([0-9a-f]{64} \d{1,19})")
_SUM = re.compile(r"([0-9a-f]{64})  -")


class DigestKind(StrEnum):
    """How a digest is made; only those of one kind can be compared."""

    SPARSE = "sparse"
    WHOLE = "whole"


async def digest_kind(*hosts: Shell) -> DigestKind:
    """The best that all of them can do. Raises HostUnreachable."""
    tries = await asyncio.gather(*(run_script(host, _HAS_PYTHON) for host in hosts))
    able = all(done.exit_status == 0 for done in tries)
    return DigestKind.SPARSE if able else DigestKind.WHOLE


async def digest(
    host: AnyHost,
    path: str,
    on_progress: Callable[[int], None] = lambda _at: None,
    kind: DigestKind = DigestKind.SPARSE,
) -> str:
    """The digest of a file as it lies on its disk; `on_progress`: bytes of its length, rising.

    Cancelling ends what runs on the host.

    Raises:
        CopyFailed: The file cannot be read.
        CallTimedOut: Nothing was heard of it for too long.
        HostUnreachable: The connection is lost.
    """
    length = (await file_stamp(host, absolute(path))).length_bytes
    silence = _SILENCE_S
    if kind is DigestKind.WHOLE:
        silence += length / _SLOWEST_BYTES_S
    async with own_connection(host) as own:
        found = await _run(own, path, _command(kind, path), on_progress, silence)
    on_progress(length)
    return f"{kind} {found}"


async def guest_digest(
    host: AnyHost,
    path: str,
    format: str,
    on_progress: Callable[[int], None] = lambda _at: None,
) -> str:
    """The SPARSE digest of what a guest sees in an image, its backing images included.

    It is the one that a raw file of that content has. The host needs python3.

    Raises:
        CopyFailed: The image cannot be read, or is in use.
        CallTimedOut: Nothing was heard of it for too long.
        HostUnreachable: The connection is lost.
    """
    block_device = (await file_stamp(host, absolute(path))).is_block_device
    async with own_connection(host) as own, storage_daemon(own) as daemon:
        await lock_file(daemon, "image", path, block_device=block_device)
        await add_image(daemon, "served", path, format, block_device=block_device)
        address = unix(f"{daemon.directory}/nbd")
        await serve(daemon, address, encrypted=False)
        export = await export_node(daemon, writable=False)
        command = [*_command(DigestKind.SPARSE, path), format, address["path"], export]
        found = await _run(own, path, command, on_progress, _SILENCE_S)
    on_progress(int(found.split()[1]))
    return f"{DigestKind.SPARSE} {found}"


async def same_content(
    source: AnyHost,
    source_path: str,
    target: AnyHost,
    target_path: str,
    on_progress: Callable[[int], None] = lambda _at: None,
) -> str:
    """The digest that both files have; made at both ends at once. `on_progress`: of the slower.

    Raises:
        CopyFailed: They differ, or one cannot be read.
        HostUnreachable: One of the hosts does not answer.
    """
    kind = await digest_kind(source, target)
    tells = _tellers(on_progress)
    digests: list[str] = await together(
        digest(source, source_path, tells[0], kind), digest(target, target_path, tells[1], kind)
    )
    if digests[0] != digests[1]:
        raise _differ(source, source_path, target, target_path)
    return digests[0]


async def same_guest_content(
    source: AnyHost,
    source_image: tuple[str, str],
    target: AnyHost,
    target_image: tuple[str, str],
    on_progress: Callable[[int], None] = lambda _at: None,
) -> str:
    """The same for what a guest sees in two images, each given as path and format."""
    tells = _tellers(on_progress)
    digests: list[str] = await together(
        guest_digest(source, *source_image, tells[0]), guest_digest(target, *target_image, tells[1])
    )
    if digests[0] != digests[1]:
        raise _differ(source, source_image[0], target, target_image[0])
    return digests[0]


def _differ(source: AnyHost, source_path: str, target: AnyHost, target_path: str) -> CopyFailed:
    return CopyFailed(
        f"{target_path} on {target.name} is not the same as {source_path} on {source.name}: "
        "their digests differ.",
        f"Look at the kernel's log and the disk of {target.name}, then move again.",
    )


def _tellers(on_progress: Callable[[int], None]) -> tuple[Callable[[int], None], ...]:
    """One for each end; what is told on is where the slower one is."""
    ats = [0, 0]

    def teller(end: int) -> Callable[[int], None]:
        def tell(at: int) -> None:
            ats[end] = at
            on_progress(min(ats))

        return tell

    return teller(0), teller(1)


def _command(kind: DigestKind, path: str) -> list[str]:
    if kind is DigestKind.WHOLE:
        return ["/bin/sh", "-c", _WHOLE, "sh", path]
    return ["python3", "-I", "-c", _PROGRAM.read_text(), path]


async def _run(
    host: AnyHost,
    path: str,
    command: list[str],
    on_progress: Callable[[int], None],
    silence_s: float,
) -> str:
    process = await start(host, ["/bin/sh", "-c", _GUARD, "sh", *command])
    said, lines = "", process.lines()
    try:
        while (line := await _next(host, lines, silence_s)) is not None:
            if at := _AT.fullmatch(line):
                on_progress(int(at[1]))
            elif found := _DIGEST.fullmatch(line) or _SUM.fullmatch(line):
                return found[1]
            else:
                said = line
    finally:
        process.close_input()
        await process.close()
    if not said:
        raise HostUnreachable(f"The connection to {host.name} was lost.", "Move again.")
    said = plain(said.removeprefix("failed ")).rstrip(".")
    raise CopyFailed(f"{path} on {host.name} cannot be read: {said}.")


async def _next(host: AnyHost, lines: AsyncIterator[str], silence_s: float) -> str | None:
    try:
        async with asyncio.timeout(silence_s):
            return await anext(lines, None)
    except TimeoutError:
        raise CallTimedOut(f"{host.name} said nothing for {silence_s:.0f} s.") from None
