"""The UNIX socket: who may talk, what they ask, what they are told.

One engine process serves one user. Each connection names the fleet it means; connections of
the same fleet share one `Engine`. The process ends when it has been without clients and
running migrations for `idle_s`.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from backend.errors import BadInput, FerryError
from backend.fleet import config
from backend.model import Now
from backend.run.engine import Engine
from backend.service import answers, paths
from backend.service.client import own_version
from backend.service.hub import Hub
from backend.service.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL,
    Answer,
    Change,
    Done,
    EngineReply,
    EvacuationChanged,
    Failed,
    FleetChoice,
    FromEngine,
    GetEngine,
    Hello,
    MigrationChanged,
    Publish,
    Reply,
    Request,
    RollChanged,
    StopEngine,
    Watch,
    Welcome,
    decode_call,
    encode,
)

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
_MAX_UNSENT_BYTES = 32 * 1024 * 1024
"""A client this far behind is hung up on: it would hold the memory of everyone."""


@dataclass(frozen=True, slots=True)
class Served:
    """One fleet's engine, and the hub that carries its news."""

    engine: Engine
    hub: Hub


class Server:
    """All connections and the engines they use."""

    def __init__(self, idle_s: float, now: Now) -> None:
        self._idle_s = idle_s
        self._served: dict[config.FleetSettings, Served] = {}
        self._clients: set[Connection] = set()
        self._idle_since = time.monotonic()
        self._stop = asyncio.Event()
        self._now = now
        self._started = now()
        self.ssh_agent: str | None = os.environ.get("SSH_AUTH_SOCK")

    async def serve(self, listener: socket.socket) -> None:
        """Serve until stopped or idle; then close every engine (their migrations go on)."""
        server = await asyncio.start_unix_server(self._accept, sock=listener, limit=MAX_LINE_BYTES)
        async with server:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), timeout=min(1.0, self._idle_s / 4))
                await self._retire()
            # Before the listener's end is waited for: since Python 3.12.1 that waits for clients.
            for client in tuple(self._clients):
                client.hang_up()
        for served in self._served.values():
            await served.engine.close()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    async def serving(self, choice: FleetChoice) -> "Served":
        """The engine of that fleet, begun if it is the first asking. Raises BadInput."""
        settings = await asyncio.to_thread(_settings, choice)
        served = self._served.get(settings)
        if served is None:
            hub = Hub()
            engine = Engine(
                settings,
                hub,
                lambda: self.ssh_agent,
                self._now,
                paths.history_path(),
                paths.open_moves_path(),
                paths.journal_path(),
                self._carries,
            )
            served = Served(engine, hub)
            self._served[settings] = served
            served.engine.begin()
        return served

    def _carries(self, id: str) -> bool:
        """One of the engines has that migration: after a fleet file was changed there are two."""
        return any(served.engine.carries(id) for served in self._served.values())

    def about(self) -> EngineReply:
        """The engine process itself."""
        return EngineReply(
            pid=os.getpid(),
            version=own_version(),
            started=self._started,
            clients=len(self._clients),
            running_migrations=self.running,
            fleets=tuple(settings.name for settings in self._served),
        )

    def others(self, served: Served) -> tuple[Engine, ...]:
        """Engines of other fleets: a fleet file that changed must not hide what still runs."""
        return tuple(one.engine for one in self._served.values() if one is not served)

    @property
    def running(self) -> int:
        """Migrations without a verdict, in all fleets."""
        return sum(served.engine.running_count for served in self._served.values())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self._clients.add(connection)
        try:
            await connection.serve()
        finally:
            self._clients.discard(connection)
            self._idle_since = time.monotonic()
            writer.close()

    async def _retire(self) -> None:
        """Close engines nobody uses (a fleet file was changed); stop when none is left to do."""
        used = {id(client.served) for client in self._clients}
        newest = next(reversed(self._served), None)
        for settings, served in tuple(self._served.items()):
            if settings != newest and id(served) not in used and not served.engine.running_count:
                del self._served[settings]
                await served.engine.close()
        if self._clients or self.running:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > self._idle_s:
            log.info("idle for %.0f s: ending", self._idle_s)
            self.stop()


class Connection:
    """One client."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self.served: Served | None = None
        self._watch: Watch | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Greet, then answer until the client hangs up."""
        try:
            if await self._greet():
                while line := await self._reader.readline():
                    self._begin(line)
        except (OSError, ValueError, msgspec.DecodeError, RecursionError) as error:
            log.info("client hung up on: %s", error)
        finally:
            if self.served is not None:
                self.served.hub.unsubscribe(self._publish)
            for task in self._tasks:
                task.cancel()

    def hang_up(self) -> None:
        """Close from our side."""
        self._writer.close()

    async def _greet(self) -> bool:
        if _peer_uid(self._writer) != os.getuid():
            return self._refuse(BadInput("This engine belongs to another user."))
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            line = await self._reader.readline()
        try:
            hello = _checked_hello(line)
            self._server.ssh_agent = hello.ssh_agent or self._server.ssh_agent
            if hello.fleet is not None:
                self.served = await self._server.serving(hello.fleet)
        except FerryError as error:
            return self._refuse(error)
        self._send(Welcome(PROTOCOL, own_version(), os.getpid()))
        return True

    def _refuse(self, error: FerryError) -> bool:
        self._send(Failed(error.sentence, error.remedy, error.exit_code))
        return False

    def _begin(self, line: bytes) -> None:
        """Each call runs on its own: a slow one delays no other."""
        call = decode_call(line)
        task = asyncio.create_task(self._answer(call.seq, call.request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, seq: int, request: Request) -> None:
        reply: Reply
        try:
            reply = await self._reply(request)
        except FerryError as error:
            reply = Failed(error.sentence, error.remedy, error.exit_code)
        except Exception:
            log.exception("answering %r", request)
            reply = Failed(
                "The engine met a fault of its own and did not do that.",
                "The details are in its log, engine.log in the state directory.",
            )
        self._send(Answer(seq, reply))
        if isinstance(request, Watch) and self.served is not None:
            self._start_watching(self.served, request)
        if isinstance(request, StopEngine) and isinstance(reply, Done):
            self._server.stop()

    async def _reply(self, request: Request) -> Reply:
        if isinstance(request, GetEngine):
            return self._server.about()
        if isinstance(request, StopEngine):
            return self._stop_engine(request)
        if self.served is None:
            raise BadInput("This connection named no fleet.")
        return await answers.answer(self.served.engine, self._server.others(self.served), request)

    def _stop_engine(self, request: StopEngine) -> Reply:
        if self._server.running and not request.force:
            raise BadInput(
                f"{self._server.running} migrations are running.",
                "They go on in the hosts if you insist: `virt-ferry engine stop --force`.",
            )
        return Done()

    def _start_watching(self, served: Served, watch: Watch) -> None:
        self._watch = watch
        served.hub.subscribe(self._publish)
        states = served.engine.migrations(running_only=False)
        changes: list[Change] = [MigrationChanged(migration) for migration in states]
        changes += map(EvacuationChanged, served.engine.evacuations.known)
        changes += map(RollChanged, served.engine.rolls.known)
        for change in changes:
            self._publish(change, encode(Publish(change)))

    def _publish(self, change: Change, line: bytes) -> None:
        watch = self._watch
        if watch is not None and answers.wanted(watch, change):
            self._write(line)

    def _send(self, message: FromEngine) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message) + b"\n")

    def _write(self, line: bytes) -> None:
        if self._writer.is_closing():
            return
        self._writer.write(line + b"\n")
        if self._writer.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            log.warning("a client does not read what it asked for: hanging up")
            self._writer.transport.abort()


def _settings(choice: FleetChoice) -> config.FleetSettings:
    if choice.path is not None:
        return config.load(Path(choice.path))
    return config.with_own_files(config.from_uris(choice.uris))


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


def _checked_hello(line: bytes) -> Hello:
    """Versions first, and loosely: a foreign client's Hello may have another shape."""
    try:
        loose = msgspec.json.decode(line)
        theirs = (loose.get("protocol"), loose.get("version"))
    except (msgspec.DecodeError, AttributeError, ValueError, RecursionError):
        raise BadInput("That is not the engine's language.") from None
    if theirs != (PROTOCOL, own_version()):
        raise BadInput(
            f"The running engine is version {own_version()} (protocol {PROTOCOL}), this is"
            f" {theirs[1]} (protocol {theirs[0]}).",
            "Run `virt-ferry engine stop` and try again: running migrations go on in the hosts.",
        )
    try:
        return msgspec.convert(loose, Hello)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadInput(f"That greeting is not understood: {error}.") from None
