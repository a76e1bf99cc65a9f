"""What qemu-storage-daemon says over its standard output -> answers, events, sentences."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from backend.errors import CopyFailed, FerryError, HostUnreachable
from backend.remote.daemon import QmpRefused, StorageDaemon, parse_message
from backend.remote.hold import add_image
from backend.remote.process import Process, start, together
from backend.remote.shell import LocalShell


class Scripted:
    """A process that says what it is told to, and answers requests."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str | None] = asyncio.Queue()
        self.heard: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | None = {"return": {}}
        self.unanswered = asyncio.Event()

    def say(self, *lines: object) -> None:
        for line in lines:
            self.said.put_nowait(line if isinstance(line, str) else json.dumps(line))

    def over(self) -> None:
        self.said.put_nowait(None)

    async def write(self, data: bytes) -> None:
        for line in data.decode().splitlines():
            if line:
                self.heard.append(json.loads(line))
                if self.answer is not None:
                    self.say({**self.answer, "id": self.heard[-1]["id"]})
                else:
                    self.unanswered.set()

    async def lines(self) -> AsyncIterator[str]:
        while (line := await self.said.get()) is not None:
            yield line

    def close_input(self) -> None:
        self.say({"ended": 0})
        self.over()

    async def close(self) -> None:
        pass


@pytest.fixture
async def process() -> Scripted:
    return Scripted()


@pytest.fixture
async def daemon(process: Scripted) -> AsyncIterator[StorageDaemon]:
    process.say({"directory": "/tmp/its-own"}, {"QMP": {}})
    daemon = StorageDaemon("kvm-a", cast(Process, process))
    await daemon.ready()
    yield daemon
    await daemon.end()


async def test_a_command_and_its_answer(process: Scripted, daemon: StorageDaemon) -> None:
    events: list[dict[str, Any]] = []
    daemon.on_event = events.append
    process.say("a warning of no format", {"event": "JOB_STATUS_CHANGE"}, "", '["no object"]')
    process.answer = {"return": [7]}
    assert await daemon.call("blockdev-add", node_name="n", driver="file") == [7]
    assert process.heard[-1]["execute"] == "blockdev-add"
    assert process.heard[-1]["arguments"] == {"node-name": "n", "driver": "file"}
    assert events == [{"event": "JOB_STATUS_CHANGE"}]
    assert daemon.directory == "/tmp/its-own"


async def test_a_refusal_is_told_without_control_characters(
    process: Scripted, daemon: StorageDaemon
) -> None:
    process.answer = {"error": {"class": "GenericError", "desc": "No \x1b[31msuch\nnode."}}
    with pytest.raises(QmpRefused, match=r"QEMU on kvm-a refused blockdev-del") as caught:
        await daemon.call("blockdev-del", node_name="n")
    assert caught.value.said == "No [31msuch node."


@pytest.mark.parametrize(
    ("last", "kind", "sentence"),
    [
        (["out of luck.", {"ended": 1}], CopyFailed, "on kvm-a ended: out of luck."),
        ([{"ended": 137}], CopyFailed, "on kvm-a ended: exit status 137."),
        (["sh: not found", {"ended": 127}], CopyFailed, "kvm-a has no qemu-storage-daemon."),
        ([], HostUnreachable, "The connection to kvm-a was lost"),
    ],
)
async def test_its_end_fails_what_waits_and_what_comes_after(
    process: Scripted,
    daemon: StorageDaemon,
    last: list[object],
    kind: type[FerryError],
    sentence: str,
) -> None:
    process.answer = None
    waiting = asyncio.create_task(daemon.call("query-jobs"))
    await process.unanswered.wait()
    process.say(*last)
    process.over()
    with pytest.raises(kind) as caught:
        await waiting
    assert sentence in caught.value.sentence
    assert daemon.over
    with pytest.raises(kind):
        await daemon.call("query-jobs")


async def test_one_that_does_not_start_is_told(process: Scripted) -> None:
    process.say("sh: 7: qemu-storage-daemon: not found", {"ended": 127})
    process.over()
    daemon = StorageDaemon("kvm-a", cast(Process, process))
    with pytest.raises(CopyFailed, match="kvm-a has no qemu-storage-daemon"):
        await daemon.ready()
    await daemon.end()


def test_what_is_no_message_is_none() -> None:
    assert parse_message("qemu-storage-daemon: warning") is None
    assert parse_message("[1]") is None
    assert parse_message('{"QMP": {}}') == {"QMP": {}}


async def test_a_process_here_gets_lines_and_gives_them() -> None:
    process = await start(LocalShell(), ["/bin/sh", "-c", "cat; printf last"])
    await process.write(b"one\ntwo\n")
    process.close_input()
    assert [line async for line in process.lines()] == ["one", "two", "last"]
    await process.close()


async def test_a_process_here_is_closed_with_its_children() -> None:
    process = await start(LocalShell(), ["/bin/sh", "-c", "echo on; sleep 60 & wait"])
    lines = process.lines()
    assert await anext(lines) == "on"
    await process.close()
    assert [line async for line in lines] == []


async def test_together_ends_the_others_when_one_fails() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        await asyncio.sleep(0)
        raise CopyFailed("It failed.")

    with pytest.raises(CopyFailed, match="It failed"):
        await together(endless(), failing())
    assert ended.is_set()


@pytest.mark.parametrize("can", [True, False])
async def test_an_image_is_opened_past_the_cache_where_that_works(can: bool) -> None:
    opened: list[Any] = []

    class Daemon:
        host = "kvm-a"

        async def call(self, command: str, _limit_s: float, /, **node: Any) -> None:
            file = node.get("file", node)
            if file["cache"]["direct"] and not can:
                raise QmpRefused("kvm-a", command, "Could not open: Invalid argument")
            opened.append(node)

    daemon = cast(StorageDaemon, Daemon())
    await add_image(daemon, "whole", "/a")
    await add_image(daemon, "part", "/a", size_bytes=4096)
    await add_image(daemon, "guest", "/a", "qcow2", size_bytes=None, writable=True)
    files = [node.get("file", node) for node in opened]
    assert [file["cache"]["direct"] for file in files] == [can] * 3
    assert [node["node-name"] for node in opened] == ["whole", "part", "guest"]
    assert [node["driver"] for node in opened] == ["file", "raw", "qcow2"]
    assert opened[1]["size"] == 4096
    assert [node["read-only"] for node in opened] == [True, True, False]
