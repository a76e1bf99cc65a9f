"""A hook runs as its operator wrote it, on a real shell."""

import asyncio
import os
from pathlib import Path

import pytest

from backend.errors import CallTimedOut, HostUnreachable
from backend.remote.hook import MOST_LINES, last_lines, look, run_hook
from backend.remote.shell import CommandResult, LocalShell

HERE = LocalShell()
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def test_a_hook_is_one_command_whatever_is_in_it(tmp_path: Path) -> None:
    odd = tmp_path / "it's $HOME; `here`"
    done = await run_hook(HERE, f"touch \"$(printf '%s' {str(tmp_path)!r})/done\" && echo well", 10)
    assert (done.exit_status, done.lines) == (0, ("well",))
    assert (tmp_path / "done").exists()
    quoted = str(odd).replace("'", "'\\''")
    done = await run_hook(HERE, f"touch '{quoted}'", 10)
    assert done.exit_status == 0
    assert odd.exists()


async def test_its_exit_code_and_last_lines_are_told() -> None:
    done = await run_hook(
        HERE, "for i in $(seq 1000); do echo line $i; done; echo no >&2; exit 7", 10
    )
    assert done.exit_status == 7
    assert len(done.lines) == MOST_LINES
    assert done.lines[-2:] == ("line 1000", "no")


async def test_what_it_leaves_running_does_not_hold_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    done = await run_hook(HERE, f"sleep 60 & echo $! >{pid}; echo left", 10)
    assert (done.exit_status, done.lines) == (0, ("left",))
    assert done.took_s < 5
    killed = await asyncio.create_subprocess_exec("kill", pid.read_text().strip())
    assert await killed.wait() == 0


async def test_it_gets_no_input_and_no_more_than_its_time() -> None:
    assert (await run_hook(HERE, "cat; echo end", 10)).lines == ("end",)
    with pytest.raises(CallTimedOut):
        await run_hook(HERE, "sleep 20", 0.3)


async def test_no_output_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert (await run_hook(HERE, "echo well", 10)).lines == ("well",)
    assert not os.listdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not-there"))
    assert (await run_hook(HERE, "exit 3", 10)).exit_status == 3


class Cut(LocalShell):
    """Loses its connection while a command runs."""

    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        raise HostUnreachable("The connection was lost.")


async def test_a_lost_connection_is_not_taken_for_an_end() -> None:
    assert (await run_hook(Cut(), "reboot", 10)).exit_status is None
    assert await look(Cut()) is None


async def test_a_script_that_was_killed_is_not_taken_for_an_end() -> None:
    done = await run_hook(HERE, "kill -9 $PPID; sleep 0.2", 10)
    assert done.exit_status is None


async def test_a_host_tells_its_boot() -> None:
    booted = await look(HERE)
    assert booted is not None
    assert booted.boot_id == BOOT_ID
    assert not booted.stopping


def test_output_is_harmless_and_short() -> None:
    said = last_lines("\n\x1b[31mred\x1b[0m\nqemu+tcp://u:secret@h/ \n" + "x" * 5000)
    assert said[0] == "[31mred [0m"
    assert "secret" not in said[1]
    assert len(said[2]) == 300
