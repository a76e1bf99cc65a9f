"""Digests of files: equal for equal content, however it is allocated; different for one bit."""

import os
from pathlib import Path

import pytest

from backend.errors import CopyFailed
from backend.remote.digest import DigestKind, digest, digest_kind, same_content
from backend.remote.digest_program import BLOCK, File
from backend.remote.digest_program import digest as program_digest
from backend.remote.shell import LocalShell

SHELL = LocalShell()
LENGTH = 8 * BLOCK + 77


def sparse(
    path: Path, *, length: int = LENGTH, at: tuple[int, ...] = (5000, 3 * BLOCK - 2)
) -> Path:
    """Holes, and a few bytes."""
    with open(path, "wb") as file:
        file.truncate(length)
        for offset in at:
            file.seek(offset)
            file.write(b"data")
    return path


def full(path: Path, like: Path) -> Path:
    """The same content without a hole."""
    path.write_bytes(like.read_bytes())
    assert path.stat().st_blocks > like.stat().st_blocks
    return path


def of(path: Path) -> str:
    return program_digest(File(str(path)))


def test_the_same_content_however_it_is_allocated(tmp_path: Path) -> None:
    one = sparse(tmp_path / "sparse")
    assert of(one) == of(full(tmp_path / "full", one))
    assert of(one).endswith(f" {LENGTH}")


@pytest.mark.parametrize("at", [0, 5000, BLOCK - 1, BLOCK, 3 * BLOCK - 1, LENGTH - 1])
def test_one_bit_anywhere_makes_another(tmp_path: Path, at: int) -> None:
    one, other = sparse(tmp_path / "one"), sparse(tmp_path / "other")
    with open(other, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    assert of(one) != of(other)


def test_lengths_and_places_count(tmp_path: Path) -> None:
    shapes = [
        sparse(tmp_path / "a"),
        sparse(tmp_path / "b", length=LENGTH - 1),
        sparse(tmp_path / "c", length=LENGTH + BLOCK),
        sparse(tmp_path / "d", at=(5000,)),
        sparse(tmp_path / "e", at=(5000 + BLOCK, 3 * BLOCK - 2)),
        sparse(tmp_path / "f", at=()),
        sparse(tmp_path / "g", length=0, at=()),
        sparse(tmp_path / "h", length=1, at=()),
    ]
    assert len({of(path) for path in shapes}) == len(shapes)


@pytest.mark.parametrize("kind", DigestKind)
async def test_a_digest_on_a_host(tmp_path: Path, kind: DigestKind) -> None:
    path = sparse(tmp_path / "an image; $(touch x)")
    told: list[int] = []
    found = await digest(SHELL, str(path), told.append, kind)
    assert found == await digest(SHELL, str(full(tmp_path / "full", path)), kind=kind)
    assert found.startswith(f"{kind} ")
    assert told[-1] == LENGTH
    assert told == sorted(told)


async def test_python_here_makes_sparse_ones() -> None:
    assert await digest_kind(SHELL, SHELL) is DigestKind.SPARSE


async def test_without_python_on_both_they_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert await digest_kind(SHELL) is DigestKind.WHOLE


async def test_two_files_are_compared(tmp_path: Path) -> None:
    one = sparse(tmp_path / "one")
    other = full(tmp_path / "other", one)
    assert await same_content(SHELL, str(one), SHELL, str(other)) == f"sparse {of(one)}"
    other.write_bytes(b"!" + one.read_bytes()[1:])
    with pytest.raises(CopyFailed, match=r"other on this machine is not the same as .*one"):
        await same_content(SHELL, str(one), SHELL, str(other))
    with pytest.raises(CopyFailed, match=r"none on this machine cannot be read: there is no such"):
        await same_content(SHELL, str(one), SHELL, str(tmp_path / "none"))
