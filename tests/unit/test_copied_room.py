"""What a copy takes beside its original: told where it differs, with the reason; and how finely a
copy between pools has to look at holes."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from backend.model import DiskAction, DiskMove
from backend.remote.shell import LocalShell, Shell
from backend.run.copied_room import fine_enough, mirrored_room

MIB = 2**20


@dataclass(frozen=True)
class Host:
    """Its files are this machine's."""

    name: str = "kvm-a"
    shell: Shell | None = LocalShell()  # noqa: RUF009


HERE = cast(Any, Host())


def image(path: Path, pieces: int, size: int = 4096, length: int = 64 * MIB) -> str:
    """Data at even distances."""
    with open(path, "wb") as file:
        file.truncate(length)
        for number in range(pieces):
            file.seek(number * (length // pieces))
            file.write(os.urandom(size))
    os.sync()
    return str(path)


def move(old: str, new: str, **more: Any) -> DiskMove:
    return DiskMove("vda", DiskAction.COPY, old, virtual_bytes=64 * MIB, destination=new, **more)


async def test_nothing_is_said_of_what_takes_the_same(tmp_path: Path) -> None:
    old, new = image(tmp_path / "old", 100), image(tmp_path / "new", 100)
    assert await mirrored_room(HERE, HERE, move(old, new)) == ""


async def test_a_copy_that_takes_more_or_less_says_so_and_why(tmp_path: Path) -> None:
    small, large = image(tmp_path / "small", 256), image(tmp_path / "large", 256, 65536)
    more = await mirrored_room(HERE, HERE, move(small, large))
    assert more.startswith("; it takes 16 M, the old image 1 M (data goes in pieces of 64 KiB")
    as_qcow2 = await mirrored_room(HERE, HERE, move(small, large, format="qcow2"))
    assert "compressed" in as_qcow2
    flat = await mirrored_room(HERE, HERE, move(small, large, format="qcow2", flattened=True))
    assert "what it lay on is in it now" in flat
    less = await mirrored_room(HERE, HERE, move(large, small, format="qcow2"))
    assert less.startswith("; it takes 1 M, the old image 16 M (what the guest does not see")


async def test_without_a_login_or_of_a_device_nothing_is_said(tmp_path: Path) -> None:
    small, large = image(tmp_path / "small", 256), image(tmp_path / "large", 256, 65536)
    deaf = cast(Any, Host(shell=None))
    assert await mirrored_room(deaf, HERE, move(small, large)) == ""
    assert await mirrored_room(HERE, HERE, move(small, large, device=True)) == ""
    assert await mirrored_room(HERE, HERE, move(f"{small}-not", large)) == ""


async def test_small_pieces_need_a_fine_look(tmp_path: Path) -> None:
    scattered = move(image(tmp_path / "scattered", 400), "/new")
    assert await fine_enough(HERE, scattered) == 4096
    solid = move(image(tmp_path / "solid", 4, 8 * MIB), "/new")
    assert await fine_enough(HERE, solid) is None
    assert await fine_enough(HERE, replace(scattered, format="qcow2")) is None
    assert await fine_enough(cast(Any, Host(shell=None)), scattered) is None
    assert await fine_enough(HERE, move(str(tmp_path / "none"), "/new")) is None
