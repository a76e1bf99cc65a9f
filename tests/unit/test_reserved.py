"""Room that an image has reserved is reserved for its copy, and nothing in the copy changes."""

import os
import subprocess
from pathlib import Path

import pytest

from backend.remote.reserved import joined, keep_reserved, takes_less, takes_more
from backend.remote.shell import LocalShell

SHELL = LocalShell()
MIB = 2**20


def image(path: Path, length: int, reserved: tuple[int, int] | None = None) -> str:
    """Data in its second MiB, and a hole but for what is reserved."""
    with open(path, "wb") as file:
        file.truncate(length)
        file.seek(MIB)
        file.write(b"d" * MIB)
    if reserved is not None:
        at, size = map(str, reserved)
        subprocess.run(["fallocate", "-o", at, "-l", size, path], check=True)
    os.sync()
    return str(path)


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def taken(path: str) -> int:
    return os.stat(path).st_blocks * 512


@pytest.mark.parametrize("reserved", [(0, 16 * MIB), (4 * MIB, 8 * MIB), (0, 3 * MIB)])
async def test_a_copy_gets_what_its_original_has_set_aside(
    tmp_path: Path, reserved: tuple[int, int]
) -> None:
    old = image(tmp_path / "old", 16 * MIB, reserved)
    new = image(tmp_path / "new", 16 * MIB)
    was = content(new)
    assert takes_less(taken(new), taken(old))
    assert await keep_reserved(SHELL, old, SHELL, new) == ""
    assert taken(new) == taken(old)
    assert content(new) == was


async def test_holes_stay_holes(tmp_path: Path) -> None:
    old, new = image(tmp_path / "old", 16 * MIB), image(tmp_path / "new", 16 * MIB)
    assert await keep_reserved(SHELL, old, SHELL, new) == ""
    assert taken(new) < 2 * MIB


async def test_of_another_layout_only_the_whole_is_followed(tmp_path: Path) -> None:
    part = image(tmp_path / "part", 16 * MIB, (4 * MIB, 8 * MIB))
    whole = image(tmp_path / "whole", 16 * MIB, (0, 16 * MIB))
    new = image(tmp_path / "new", 8 * MIB)
    await keep_reserved(SHELL, part, SHELL, new, virtual_bytes=16 * MIB)
    await keep_reserved(SHELL, whole, SHELL, new, virtual_bytes=64 * MIB)
    assert taken(new) < 2 * MIB
    await keep_reserved(SHELL, whole, SHELL, new, virtual_bytes=16 * MIB)
    assert taken(new) >= 16 * MIB
    assert os.stat(new).st_size == 8 * MIB


async def test_what_cannot_be_reserved_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "fallocate").write_text("#!/bin/sh\necho 'fallocate failed: No space' >&2; exit 1\n")
    (bin / "fallocate").chmod(0o755)
    old = image(tmp_path / "old", 16 * MIB, (0, 16 * MIB))
    new = image(tmp_path / "new", 16 * MIB)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    said = await keep_reserved(SHELL, old, SHELL, new)
    assert said.endswith("was not reserved again (this machine: fallocate failed: No space)")


def test_ranges_that_touch_are_one() -> None:
    assert joined([(8, 4), (0, 4), (4, 2), (11, 5)]) == ((0, 6), (8, 8))


def test_five_percent_are_the_same() -> None:
    assert not takes_less(96 * MIB, 100 * MIB)
    assert takes_less(94 * MIB, 100 * MIB)
    assert not takes_more(104 * MIB, 100 * MIB)
    assert takes_more(106 * MIB, 100 * MIB)
    assert not takes_less(0, 60_000)
