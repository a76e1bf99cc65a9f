"""The engine's socket: its user's alone, and whatever a client says harms nobody else."""

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.service import paths, server
from backend.service.client import own_version
from backend.service.protocol import (
    PROTOCOL,
    Answer,
    Call,
    EngineReply,
    Failed,
    FleetChoice,
    GetEngine,
    Hello,
    Welcome,
    decode_from_engine,
    encode,
)
from backend.service.server import Server
from tests.hostile import ALL_AT_ONCE, texts
from tests.mutations import cut_up, json_like

NOBODY = 65534
HELLO = encode(Hello(PROTOCOL, own_version(), None)) + b"\n"
TEST_FLEET = FleetChoice(uris=("test:///default",))


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@asynccontextmanager
async def serving(door: Path | None = None) -> AsyncIterator[Path]:
    """A server of this process's own, and the path of its socket."""
    path = door or paths.socket_path()
    one = Server(float("inf"), time.time)
    task = asyncio.create_task(one.serve(paths.listen(path)))
    try:
        yield path
    finally:
        one.stop()
        await task


@asynccontextmanager
async def client(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(sock=paths.connect(path))
    try:
        yield reader, writer
    finally:
        writer.close()


async def answers(path: Path) -> bool:
    """Whether another client is served."""
    async with client(path) as (reader, writer):
        writer.write(HELLO + encode(Call(7, GetEngine())) + b"\n")
        assert isinstance(decode_from_engine(await reader.readline()), Welcome)
        reply = decode_from_engine(await reader.readline())
        return isinstance(reply, Answer) and isinstance(reply.reply, EngineReply)


async def said_to(path: Path, *lines: bytes) -> bytes:
    """All that the engine says to a client that says this and hangs up."""
    async with client(path) as (reader, writer):
        for line in lines:
            writer.write(line)
        writer.write_eof()
        return await reader.read()


# -- whose it is -----------------------------------------------------------------------------


def greeted_as(uid: int, path: Path) -> bytes:
    """What a process of another user gets to read: in a child, which gives up its rights."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(str(path))
                if uid == os.geteuid() != NOBODY:
                    sock.sendall(HELLO)
                os.write(writer, sock.recv(65536))
        except OSError as error:
            os.write(writer, f"{type(error).__name__}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


async def test_another_user_cannot_reach_the_socket() -> None:
    async with serving() as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        said = await asyncio.to_thread(greeted_as, NOBODY, path)
        assert said == b"PermissionError"
        assert b"Welcome" in await asyncio.to_thread(greeted_as, os.getuid(), path)


async def test_another_user_is_refused_even_where_the_files_let_him() -> None:
    """The kernel says who is at the other end."""
    door = Path("/tmp") / f"virt-ferry-door-{os.getpid()}"
    door.mkdir(mode=0o755)
    try:
        async with serving(door / "s") as path:
            path.chmod(0o666)
            said = await asyncio.to_thread(greeted_as, NOBODY, path)
            reply = decode_from_engine(said)
            assert reply == Failed("This engine belongs to another user.")
            assert await answers(path)
    finally:
        (door / "s").unlink(missing_ok=True)
        door.rmdir()


async def test_the_peer_is_asked_of_the_kernel() -> None:
    async with serving() as path:
        async with client(path) as (_, writer):
            sock = writer.get_extra_info("socket")
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            assert struct.unpack("3i", raw)[1] == os.getuid()
        assert await answers(path)


async def test_a_spoilt_fleet_file_is_refused_before_anything_is_reached(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('[hosts.a]\nuri = "test:///default"\n')
    file.chmod(0o666)
    async with serving() as path:
        hello = encode(Hello(PROTOCOL, own_version(), FleetChoice(path=str(file)))) + b"\n"
        reply = decode_from_engine(await said_to(path, hello))
        assert isinstance(reply, Failed)
        assert reply.exit_code == 2
        assert f"chmod go-w {file}" in reply.remedy


# -- what is said to it ----------------------------------------------------------------------

CALL = json.loads(encode(Call(1, GetEngine())))
lines = (
    json_like(CALL).map(lambda one: json.dumps(one).encode())
    | cut_up(encode(Call(1, GetEngine())).decode()).map(lambda t: t.encode("utf-8", "replace"))
    | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary(max_size=40)
    | st.sampled_from((b"[" * 100_000, b"\n", b"{}", b"null", b'"' + b"x" * 100_000))
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, max_size=5), st.booleans(), st.booleans())
def test_whatever_a_client_says_the_others_are_served(
    said: list[bytes], greeted: bool, whole: bool
) -> None:
    async def run() -> None:
        async with serving() as path:
            all_said = [HELLO] * greeted + [one + b"\n" * whole for one in said]
            replies = await said_to(path, *all_said)
            for line in replies.splitlines():
                decode_from_engine(line)
            assert await answers(path)

    asyncio.run(run())


async def test_an_endless_line_hangs_up_on_its_client_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MAX_LINE_BYTES", 65536)
    async with serving() as path:
        async with client(path) as (reader, writer):
            writer.write(HELLO)
            assert b"Welcome" in await reader.readline()
            writer.write(b"x" * 300_000)
            with suppress(ConnectionError):  # it does not even read the rest
                assert await reader.read() == b""
        assert await answers(path)


STRANGE = (
    '{"type":"GetMigration","id":%s}',
    '{"type":"Abort","id":%s}',
    '{"type":"MakePlan","vms":[%s],"target":%s}',
    '{"type":"MakePlan","vms":["test"],"options":{"policy":%s}}',
    '{"type":"MakePlan","vms":["test"],"options":{"address":%s}}',
    '{"type":"Start","vms":["test"],"target":%s}',
    '{"type":"Start","vms":["test"],"target":null,"options":{"disks":[{"target":%s,"pool":%s}]}}',
)
NUMBERS = (
    '{"type":"SetPauseLimit","id":"x","pause_ms":%s}',
    '{"type":"SetBandwidth","id":"x","rate_bytes_s":%s}',
    '{"type":"GetFleet","settle_s":%s}',
    '{"type":"MakePlan","vms":["test"],"options":{"pause_ms":%s}}',
    '{"type":"MakePlan","vms":["test"],"options":{"deadline_s":%s}}',
    '{"type":"MakePlan","vms":["test"],"options":{"bandwidth_bytes_s":%s}}',
    '{"type":"MakePlan","vms":["test"],"options":{"shutdown_s":%s}}',
    '{"type":"ListPast","wanted":{"limit":%s}}',
    '{"type":"ListPast","wanted":{"since":%s}}',
)


async def test_strange_values_are_answered_in_sentences(caplog: pytest.LogCaptureFixture) -> None:
    """Well-formed requests that mean nothing: refused, never a fault of the engine's own."""
    hello = encode(Hello(PROTOCOL, own_version(), TEST_FLEET)) + b"\n"
    named = json.dumps(ALL_AT_ONCE.replace("\ud800", ""))
    requests = [one.replace("%s", named) for one in STRANGE]
    requests += [one % n for one in NUMBERS for n in ("-1", "0", "1" + "0" * 30, "-1e308")]
    told = 0
    async with serving() as path:
        for request in requests:
            call = f'{{"seq":1,"request":{request}}}\n'.encode()
            async with client(path) as (reader, writer):
                writer.write(hello + call)
                assert isinstance(decode_from_engine(await reader.readline()), Welcome)
                line = await reader.readline()  # nothing: it was no request at all
            reply = decode_from_engine(line) if line else None
            if isinstance(reply, Answer) and isinstance(reply.reply, Failed):
                told += 1
                assert "fault of its own" not in reply.reply.sentence, request
        assert await answers(path)
    assert told >= 20
    assert "Traceback" not in caplog.text
