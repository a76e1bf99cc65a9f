"""What qemu-img and stat say of images -> facts; formats and paths are given, never guessed."""

import base64
import json
import os
from pathlib import Path
from typing import ClassVar

import pytest

from backend.errors import BadDocument, BadInput, CopyFailed
from backend.remote.images import (
    DataMap,
    FileStamp,
    ImageCheck,
    absolute,
    check_image,
    copy_tail,
    data_map,
    file_stamp,
    image_facts,
    parse_check,
    parse_facts,
    set_length,
    sync_file,
)
from backend.remote.shell import CommandResult, LocalShell

SHELL = LocalShell()
STAMP = FileStamp(False, 3000, 2048, 7, "now")
INFO = [
    {
        "filename": "/images/top.qcow2",
        "format": "qcow2",
        "virtual-size": 1 << 30,
        "actual-size": 2048,
        "dirty-flag": False,
        "snapshots": [{"id": "1", "name": "before", "vm-state-size": 5, "date-sec": 1}],
        "format-specific": {"type": "qcow2", "data": {"compat": "1.1"}},
    },
    {"filename": "/images/base", "format": "raw", "virtual-size": 512, "actual-size": 512},
]


@pytest.fixture
def qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A qemu-img that does what the files `said`, `complains`, `exits` say."""
    program = tmp_path / "bin" / "qemu-img"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncd "{tmp_path}"\nprintf "%s\\n" "$*" > called\n'
        "cat said; cat complains >&2 2>/dev/null\nexit $(cat exits)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (tmp_path / "exits").write_text("0")
    (tmp_path / "complains").write_text("")
    return tmp_path


def test_facts_have_the_chain_and_the_snapshots() -> None:
    facts = parse_facts("kvm-a", json.dumps(INFO), STAMP)
    assert (facts.path, facts.format, facts.virtual_bytes) == (
        "/images/top.qcow2",
        "qcow2",
        1 << 30,
    )
    assert (facts.length_bytes, facts.allocated_bytes) == (3000, 2048)
    assert [(shot.name, shot.state_bytes) for shot in facts.snapshots] == [("before", 5)]
    assert [base.path for base in facts.backing] == ["/images/base"]
    assert facts.data_file is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"filename": "x"}]'])
def test_what_is_no_facts_is_refused(text: str) -> None:
    with pytest.raises(BadDocument):
        parse_facts("kvm-a", text, STAMP)


def test_a_check_is_clean_with_leaks_alone() -> None:
    assert parse_check("kvm-a", '{"leaks": 3, "check-errors": 0}') == ImageCheck(leaks=3)
    assert ImageCheck(leaks=3).clean
    assert not ImageCheck(corruptions=1).clean
    assert not ImageCheck(errors=1).clean
    with pytest.raises(BadDocument):
        parse_check("kvm-a", "qemu-img: no")


@pytest.mark.parametrize(
    ("exits", "found"),
    [(2, ImageCheck(corruptions=1)), (3, ImageCheck(corruptions=1)), (63, None)],
)
async def test_the_exit_status_of_a_check(
    qemu_img: Path, exits: int, found: ImageCheck | None
) -> None:
    (qemu_img / "said").write_text('{"corruptions": 1, "check-errors": 0}')
    (qemu_img / "exits").write_text(str(exits))
    seen = await check_image(SHELL, "/images/a -f raw", "qcow2")
    assert seen == (found or ImageCheck(has_checks=False))
    called = (qemu_img / "called").read_text()
    assert called == "check --output=json -f qcow2 -- /images/a -f raw\n"


async def test_an_image_in_use_cannot_be_checked(qemu_img: Path) -> None:
    (qemu_img / "said").write_text("")
    (qemu_img / "complains").write_text('qemu-img: Failed to get "write" lock\n')
    (qemu_img / "exits").write_text("1")
    with pytest.raises(CopyFailed, match=r'/images/a on this machine cannot be checked.*"write"'):
        await check_image(SHELL, "/images/a", "qcow2")
    with pytest.raises(CopyFailed, match="there is no such file"):
        await image_facts(SHELL, "/images/there-is-none", "qcow2")


async def test_where_data_lies(qemu_img: Path) -> None:
    gib = 1 << 30
    ranges = [
        {"start": 0, "length": 3 * gib, "depth": 0, "zero": False, "data": True},
        {"start": 3 * gib, "length": 4 * gib, "depth": 0, "zero": True, "data": False},
        {"start": 7 * gib, "length": gib, "depth": 0, "zero": False, "data": True},
    ]
    (qemu_img / "said").write_text("[" + ",\n".join(json.dumps(one) for one in ranges) + "]\n")
    found = await data_map(SHELL, "/images/a", "raw", 8 * gib)
    assert (found.extents, found.data_bytes) == (2, 4 * gib)
    assert found.before(0) == 0
    assert found.before(gib) == gib
    assert found.before(5 * gib) == 3 * gib
    assert found.before(7 * gib + gib // 2) == 3 * gib + gib // 2
    assert found.before(9 * gib) == 4 * gib


async def test_where_data_lies_is_all_of_it_when_nobody_knows(qemu_img: Path) -> None:
    (qemu_img / "said").write_text("")
    (qemu_img / "complains").write_text("qemu-img: no\n")
    found = await data_map(SHELL, "/images/a", "raw", 5_000_007)
    assert found.data_bytes == 5_000_007
    assert found.before(1_000_000) == 1_000_000


async def test_an_image_of_holes_has_no_data(qemu_img: Path) -> None:
    (qemu_img / "said").write_text('[{ "start": 0, "length": 99, "zero": true, "data": false}]\n')
    assert await data_map(SHELL, "/images/a", "raw", 99) == DataMap(1, 0, (0,))


async def test_a_stamp_shows_a_change_and_no_allocation(tmp_path: Path) -> None:
    image = tmp_path / "an image; $(touch x)"
    image.write_bytes(b"x" * 1000)
    before = await file_stamp(SHELL, str(image))
    assert (before.length_bytes, before.is_block_device) == (1000, False)
    await sync_file(SHELL, str(image))
    assert await file_stamp(SHELL, str(image)) == before
    os.utime(image, ns=(1, 1))
    assert await file_stamp(SHELL, str(image)) != before
    await set_length(SHELL, str(image), 5000)
    assert image.stat().st_size == 5000
    assert os.listdir(tmp_path) == [image.name]


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "neither a file")):
        with pytest.raises(CopyFailed, match=said):
            await file_stamp(SHELL, str(path))
    for odd in ("nbd://host/x", "json:{}", "disk", "/a\0b"):
        with pytest.raises(BadInput):
            absolute(odd)


@pytest.mark.parametrize("size", [1, 2, 3, 77, 4095])
async def test_the_tail_of_an_odd_file_follows_its_body(tmp_path: Path, size: int) -> None:
    content = os.urandom(8192 + size)
    source, target = tmp_path / "a source", tmp_path / "a target"
    source.write_bytes(content)
    target.write_bytes(content[:8192])
    await copy_tail(SHELL, str(source), SHELL, str(target), (8192, size))
    assert target.read_bytes() == content


async def test_a_tail_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 10)
    with pytest.raises(CopyFailed, match="source on this machine cannot be read to its end"):
        await copy_tail(SHELL, str(source), SHELL, str(target), (0, 20))
    target.symlink_to("/dev/full")
    with pytest.raises(CopyFailed, match="target on this machine"):
        await copy_tail(SHELL, str(source), SHELL, str(target), (0, 10))


async def test_what_a_guest_wrote_is_on_no_command_line(tmp_path: Path) -> None:
    """Every user of a host can read its process list."""

    class Watched(LocalShell):
        commands: ClassVar[list[str]] = []

        async def run(
            self, command: str, timeout_s: float = 10.0, input: str | None = None
        ) -> CommandResult:
            self.commands.append(command)
            return await super().run(command, timeout_s, input)

    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"\0" * 8192 + b"hunter2" * 100)
    target.write_bytes(b"\0" * 8192)
    await copy_tail(SHELL, str(source), Watched(), str(target), (8192, 700))
    assert target.read_bytes() == source.read_bytes()
    told = " ".join(Watched.commands)
    assert base64.b64encode(b"hunter2" * 3).decode()[:20] not in told
    assert len(told) < 500


async def test_what_is_not_base64_is_written_nowhere(tmp_path: Path) -> None:
    """A source that sends a script in place of its data has it run nowhere."""

    class Lying(LocalShell):
        async def run(
            self, command: str, timeout_s: float = 10.0, input: str | None = None
        ) -> CommandResult:
            return CommandResult(0, "END;touch${IFS}/x1"[:16], "")

    target = tmp_path / "target"
    target.write_bytes(b"")
    with pytest.raises(CopyFailed, match="cannot be read to its end"):
        await copy_tail(Lying(), "/x", SHELL, str(target), (0, 12))
    assert target.read_bytes() == b""


async def test_without_its_key_an_encrypted_image_is_not_checked(qemu_img: Path) -> None:
    said = "qemu-img: Could not open 'x': Parameter 'encrypt.key-secret' is required for cipher\n"
    (qemu_img / "complains").write_text(said)
    (qemu_img / "exits").write_text("1")
    found = await check_image(SHELL, str(qemu_img / "x"), "qcow2")
    assert found.clean
    assert found.words == "is encrypted, so qemu-img cannot check it"
