"""The engine as a process: started on demand, shared, outlived by nothing it should not be."""

import argparse
import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.model import HostState
from backend.service import paths
from backend.service.client import EngineClient, EngineUnavailable, FerryError, own_version
from backend.service.protocol import (
    PROTOCOL,
    Abort,
    EngineReply,
    FleetChanged,
    FleetChoice,
    FleetReply,
    GetEngine,
    GetFleet,
    Hello,
    MakePlan,
    StopEngine,
    Watch,
    encode,
)
from tui.commands import engine as engine_command

TEST_FLEET = FleetChoice(uris=("test:///default",))


@pytest.fixture(autouse=True)
async def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """An engine of this test's own, in a path too long for a socket's address, ended after it."""
    deep = tmp_path / ("deep" * 20)
    monkeypatch.setenv("XDG_STATE_HOME", str(deep))
    yield
    try:
        client = await EngineClient.connect(None, start=False)
    except FerryError:
        return
    pid = client.engine_pid
    await client.call(StopEngine(force=True))
    await client.close()
    await ended(pid)


async def ended(pid: int) -> None:
    """Wait until the process is gone, through its pidfd: no polling."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(20):
            await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def fleet_of(client: EngineClient) -> FleetReply:
    reply = await client.call(GetFleet(settle_s=10))
    assert isinstance(reply, FleetReply)
    return reply


async def test_the_first_client_starts_it_and_sees_the_fleet() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    fleet = (await fleet_of(client)).fleet
    assert [(host.name, host.state) for host in fleet.hosts] == [("test", HostState.UP)]
    assert [(vm.name, vm.host, vm.state.value) for vm in fleet.vms] == [("test", "test", "running")]
    await client.close()


async def test_socket_and_log_are_the_users_alone() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    for path in (paths.socket_path(), paths.log_path(), paths.lock_path()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(paths.state_directory().stat().st_mode) == 0o700
    await client.close()


async def test_many_clients_at_once_share_one_engine() -> None:
    clients = await asyncio.gather(*(EngineClient.connect(TEST_FLEET) for _ in range(5)))
    assert len({client.engine_pid for client in clients}) == 1
    fleets = await asyncio.gather(*(fleet_of(client) for client in clients))
    assert len({fleet.fleet.vms[0].uuid for fleet in fleets}) == 1
    await asyncio.gather(*(client.close() for client in clients))


async def test_watching_begins_with_the_whole_fleet() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    await client.call(GetFleet(settle_s=10))
    await client.call(Watch())
    async for change in client.changes():
        assert isinstance(change, FleetChanged)
        assert change.whole
        assert [vm.name for vm in change.vms] == ["test"]
        break
    await client.close()


async def test_a_client_that_dies_leaves_the_others_alone() -> None:
    one, other = await asyncio.gather(*(EngineClient.connect(TEST_FLEET) for _ in range(2)))
    one._writer.transport.abort()
    assert (await fleet_of(other)).fleet.hosts
    await other.close()


async def test_unknown_names_are_sentences() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    with pytest.raises(FerryError, match="There is no VM 'tset'") as caught:
        await client.call(MakePlan(vms=("tset",)))
    assert "Did you mean test?" in caught.value.remedy
    assert caught.value.exit_code == 2
    with pytest.raises(FerryError, match="There is no host 'mars'"):
        await client.call(MakePlan(vms=("test",), target="mars"))
    with pytest.raises(FerryError, match="There is no migration 'x'"):
        await client.call(Abort("x"))
    await client.close()


async def test_another_version_is_told_and_can_be_stopped() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    sock = paths.connect(paths.socket_path())
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    writer.write(encode(Hello(PROTOCOL + 1, "9.9", None)) + b"\n")
    line = await reader.readline()
    assert b"Failed" in line
    assert own_version().encode() in line
    assert b"virt-ferry engine stop" in line
    writer.close()
    await client.close()


async def test_one_of_another_version_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await EngineClient.connect(TEST_FLEET)
    pid = client.engine_pid
    await client.close()
    monkeypatch.setattr("backend.service.client.PROTOCOL", PROTOCOL + 1)
    options = argparse.Namespace(foreground=False, action="stop", force=False)
    assert await asyncio.to_thread(engine_command.engine, options) == 0
    assert f"pid {pid}) has ended" in capsys.readouterr().out
    await ended(pid)


async def test_an_engine_that_speaks_gibberish_is_a_sentence() -> None:
    listener = paths.listen(paths.socket_path())
    server = await asyncio.start_unix_server(_gibberish, sock=listener)
    async with server:
        with pytest.raises(EngineUnavailable, match="another version"):
            await EngineClient.connect(TEST_FLEET)


async def _gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"220 mail ESMTP\r\n")
    await writer.drain()
    writer.close()


async def test_a_killed_engine_is_a_sentence_and_the_next_client_starts_another() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    first = client.engine_pid
    await client.call(Watch())
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineUnavailable, match=r"gone|broke"):
        async for _ in client.changes():
            pass
    await ended(first)
    again = await EngineClient.connect(TEST_FLEET)
    assert again.engine_pid != first
    assert (await fleet_of(again)).fleet.hosts
    await client.close()
    await again.close()


async def test_it_says_about_itself_and_stops_when_asked() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    about = await client.call(GetEngine())
    assert isinstance(about, EngineReply)
    assert (about.pid, about.running_migrations) == (client.engine_pid, 0)
    await client.call(StopEngine())
    await ended(about.pid)
    assert not paths.socket_path().exists()
    with pytest.raises(EngineUnavailable, match="No engine is running"):
        await EngineClient.connect(None, start=False)
    await client.close()


async def test_a_line_that_is_not_the_protocol_hangs_up_that_client_only() -> None:
    client = await EngineClient.connect(TEST_FLEET)
    sock = paths.connect(paths.socket_path())
    assert isinstance(sock, socket.socket)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    writer.write(encode(Hello(PROTOCOL, own_version(), TEST_FLEET)) + b"\n")
    assert b"Welcome" in await reader.readline()
    writer.write(b'{"seq": 1, "request": {"type": "DropTables"}}\n')
    assert await reader.read() == b""
    assert (await fleet_of(client)).fleet.hosts
    writer.close()
    await client.close()
