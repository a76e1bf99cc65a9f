"""What the host's table of mappings says; the script itself on a process of the test's own."""

import asyncio
import sys
import textwrap
from pathlib import Path
from uuid import uuid4

import pytest

from backend.remote.memory_use import MemoryUse, memory_in_use, parse_memory_use
from backend.remote.shell import CommandResult, LocalShell

MIB = 2**20
UUID = str(uuid4())


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, "524296 108552\n", MemoryUse(108552 * 1024)),
        (0, "524296 999999\n", MemoryUse(512 * MIB)),
        (0, "", MemoryUse(None, "the answer made no sense")),
        (0, "1 2 3\n", MemoryUse(None, "the answer made no sense")),
        (3, "", MemoryUse(None, "no QEMU with its UUID was found there")),
        (4, "", MemoryUse(None, "none of its mappings is as large as its memory")),
        (5, "", MemoryUse(None, "our login may not read /proc/PID/smaps of QEMU there")),
        (127, "", MemoryUse(None, "awk: not found")),
    ],
)
def test_what_the_script_says(status: int, said: str, expected: MemoryUse) -> None:
    stderr = "awk: not found" if status == 127 else ""
    assert parse_memory_use(CommandResult(status, said, stderr), 512 * MIB) == expected


@pytest.mark.parametrize("uuid", ["", "a b", "$(reboot)", UUID + "\n", f"{UUID} -o"])
async def test_what_is_no_uuid_is_not_asked_for(uuid: str) -> None:
    class Never(LocalShell):
        async def run(
            self, command: str, timeout_s: float = 10.0, input: str | None = None
        ) -> CommandResult:
            raise AssertionError(command)

    assert (await memory_in_use(Never(), uuid, MIB)).in_use_bytes is None


async def test_the_mapping_of_its_memory_is_found_and_only_what_is_touched_counts(
    tmp_path: Path,
) -> None:
    """A process that calls itself qemu, holds 64 MiB and has touched 10 of them."""
    script = tmp_path / "hold.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import mmap, sys
            open("/proc/self/comm", "w").write("qemu-test")
            memory = mmap.mmap(-1, 64 * {MIB} + 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            other = mmap.mmap(-1, 256 * {MIB}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                              prot=mmap.PROT_READ)
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            memory[: 10 * {MIB}] = b"x" * (10 * {MIB})
            print("held", flush=True)
            sys.stdin.read()
            """
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        "-uuid",
        UUID.upper(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert await process.stdout.readline() == b"held\n"
        found = await memory_in_use(LocalShell(), UUID, 64 * MIB)
        assert found.in_use_bytes is not None, found.why
        assert 10 * MIB <= found.in_use_bytes < 11 * MIB
        too_large = await memory_in_use(LocalShell(), UUID, 1024 * MIB)
        assert too_large.in_use_bytes is None
    finally:
        process.stdin.close()
        await process.wait()
    nothing = await memory_in_use(LocalShell(), UUID, 64 * MIB)
    assert nothing.why == "no QEMU with its UUID was found there"
