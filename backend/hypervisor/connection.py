"""Lanes: one libvirt connection each, with a thread of its own and a time limit on every call.

Invariant: a `virConnect` lives and dies on its lane's thread. Over an SSH forward that the event
loop serves, closing a connection is a remote call that this same loop would have to carry: used,
closed or garbage collected on the loop's thread it hangs the program for good. So no reference
leaves the lane: not by a result, not by an exception's traceback, not by an attribute.

Threads are daemons with a queue, not a ThreadPoolExecutor: that one waits at interpreter exit
for a call that may never return.
"""

import asyncio
import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import libvirt

from backend.errors import CallTimedOut, FerryError, HostUnreachable, from_libvirt
from backend.hypervisor.pump import ensure_pump

Connection = Any
"""libvirt.virConnect, which carries no types."""

T = TypeVar("T")

_KEEPALIVE_INTERVAL_S = 5
_KEEPALIVE_COUNT = 5
_CLOSE_REASONS = {
    0: "an error on the connection",
    1: "the host closed it",
    2: "the host stopped answering",
    3: "it was closed here",
}


class _Job(Generic[T]):
    """One call on its way through a lane's thread."""

    def __init__(
        self, function: Callable[[Connection], T], what: str, limit_s: float | None
    ) -> None:
        self.function = function
        self.what = what
        self.limit_s = limit_s
        self.future: Future[T] = Future()
        self.overdue_at: float | None = None

    def run(self, conn: Connection, host: str) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        if self.limit_s is not None:
            self.overdue_at = time.monotonic() + self.limit_s
        try:
            result = self.function(conn)
            if type(result).__module__ == "libvirt":
                raise TypeError(f"{self.what}: a libvirt object must not leave its lane")
        except BaseException as error:
            self.future.set_exception(_told(error, conn, host, self.what))
        else:
            self.future.set_result(result)


class Lane:
    """One libvirt connection with a daemon thread of its own; every call bounded in time."""

    def __init__(self, host: str, purpose: str, uri: str) -> None:
        self.host = host
        self.purpose = purpose
        self.uri = uri
        self.on_closed: Callable[[str], None] | None = None
        """Called on the loop, with a reason, when libvirt reports the connection as closed."""
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._opened: Future[None] = Future()
        self._ended: Future[None] = Future()
        for future in (self._opened, self._ended):
            future.set_running_or_notify_cancel()  # nobody who waits can cancel them
        self._farewells: list[Callable[[Connection], None]] = []
        self._running: _Job[Any] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dead = ""
        """Why no call can be made any more; empty while one can."""
        self.given_up = False
        """A call did not return in time; that says nothing of the connection."""

    @property
    def alive(self) -> bool:
        """True between a successful `open` and whatever ends the lane."""
        return self._opened.done() and self._opened.exception() is None and not self._dead

    async def open(self, timeout_s: float = 10.0) -> None:
        """Connect, on the lane's thread.

        Raises:
            HostUnreachable: libvirt refused, or did not answer within `timeout_s`.
        """
        if self._loop is not None:
            raise RuntimeError(f"lane {self.purpose} of {self.host} was opened before")
        ensure_pump()
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()
        name = f"libvirt-{self.purpose}-{self.host}"
        threading.Thread(target=_serve, args=(self,), name=name, daemon=True).start()
        opened = asyncio.wrap_future(self._opened)
        try:
            done, _ = await asyncio.wait(
                {opened, self._gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            self.abandon()
            raise
        finally:
            opened.cancel()
        if opened not in done:
            self.abandon()
            raise CallTimedOut(
                f"libvirt on {self.host} did not answer within {timeout_s:g} s.",
                "Check that its daemon is not stuck.",
            )
        opened.result()

    async def call(
        self,
        function: Callable[[Connection], T],
        timeout_s: float | None = 5.0,
        what: str = "",
    ) -> T:
        """Run `function(connection)` on the lane's thread and give its result (plain values only).

        `what` completes the sentence "could not ...". Cancelling leaves the lane in order: a call
        that was not begun is dropped, one that was runs to its end unheard.

        Raises:
            CallTimedOut: No answer in `timeout_s` (None: wait for ever). If the call had begun,
                it may still take effect; the lane is then given up.
            HostUnreachable: The connection is, or just became, unusable.
            HypervisorError: libvirt refused; `VmGone` if it has no such VM.
        """
        gone = self._gone
        if gone is None or self._dead:
            raise self._unusable()
        job: _Job[T] = _Job(function, what, timeout_s)
        answer = asyncio.wrap_future(job.future)
        self._jobs.put(job)
        try:
            both: tuple[asyncio.Future[Any], ...] = (answer, gone)
            await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise self._unusable()
            raise self._timed_out(job)
        finally:
            answer.cancel()

    def before_close(self, farewell: Callable[[Connection], None]) -> None:
        """Have `farewell(connection)` run on the lane's thread before it closes."""
        self._farewells.append(farewell)

    async def close(self, timeout_s: float = 3.0) -> None:
        """Close on the lane's thread; give the lane up if that takes longer than `timeout_s`."""
        if self._loop is None or (self._dead and self._ended.done()):
            return
        self._dead = self._dead or "it was closed"
        self._jobs.put(None)
        ended = asyncio.wrap_future(self._ended)
        await asyncio.wait({ended}, timeout=timeout_s)
        ended.cancel()
        self.abandon()

    def abandon(self) -> None:
        """Give the lane up at once: pending calls fail, the thread closes whenever it can."""
        first = not self._dead
        self.given_up |= first
        self._dead = self._dead or "it was given up because it did not answer"
        self._jobs.put(None)
        if first and self.on_closed is not None:
            self.on_closed(self._dead)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def _timed_out(self, job: _Job[Any]) -> CallTimedOut:
        doing = job.what or "answer"
        front = self._running
        if job.future.cancel():
            stuck = front is not None and front.overdue_at is not None
            if stuck and front is not None and time.monotonic() > (front.overdue_at or 0.0):
                self.abandon()
            return CallTimedOut(
                f"{self.host} was too busy to {doing} within {job.limit_s:g} s; it was not begun.",
                "Try again.",
            )
        self.abandon()
        return CallTimedOut(
            f"{self.host} did not {doing} within {job.limit_s:g} s.",
            "It may still happen there; the connection is made anew.",
        )

    def _unusable(self) -> HostUnreachable:
        why = self._dead or "it was not opened"
        return HostUnreachable(f"The connection to {self.host} cannot be used: {why}.")

    def _lost(self, reason: str) -> None:
        """On the loop: libvirt says the connection is closed."""
        if self._dead:
            return
        self._dead = reason
        self._jobs.put(None)
        if self.on_closed is not None:
            self.on_closed(reason)


def _serve(lane: Lane) -> None:
    """The lane's thread. `conn` never leaves this frame but as an argument."""
    try:
        conn = _open(lane)
    except BaseException as error:
        lane._opened.set_exception(_told(error, None, lane.host, ""))
        lane._ended.set_result(None)
        return
    lane._opened.set_result(None)
    while (job := lane._jobs.get()) is not None:
        lane._running = job
        job.run(conn, lane.host)
        lane._running = None
        del job
    _close(conn, lane._farewells)
    del conn
    lane._ended.set_result(None)


def _open(lane: Lane) -> Connection:
    conn = libvirt.open(lane.uri)
    # The test driver knows neither keepalive nor close callbacks.
    with contextlib.suppress(libvirt.libvirtError):
        conn.setKeepAlive(_KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT)
    with contextlib.suppress(libvirt.libvirtError):
        conn.registerCloseCallback(_on_close, lane)
    return conn


def _on_close(_conn: Connection, reason: int, lane: Lane) -> None:
    """In the pump's thread: only hand over."""
    said = _CLOSE_REASONS.get(reason, "the connection was closed")
    if lane._loop is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            lane._loop.call_soon_threadsafe(lane._lost, said)


def _close(conn: Connection, farewells: list[Callable[[Connection], None]]) -> None:
    """Deregister, then close: a registered callback holds a reference to the connection."""
    for farewell in farewells:
        with contextlib.suppress(Exception):
            farewell(conn)
    with contextlib.suppress(libvirt.libvirtError):
        conn.unregisterCloseCallback()
    with contextlib.suppress(libvirt.libvirtError):
        conn.close()


def _told(error: BaseException, conn: Connection, host: str, what: str) -> BaseException:
    """`error` without the frames it came through: they hold the connection."""
    if isinstance(error, libvirt.libvirtError):
        return from_libvirt(
            host,
            what,
            error.get_error_code() or 0,
            error.get_error_message() or str(error),
            connected=conn is None or _is_alive(conn),
            opening=conn is None,
        )
    if not isinstance(error, FerryError):
        error.add_note("".join(traceback.format_tb(error.__traceback__)))
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _is_alive(conn: Connection) -> bool:
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False
