"""What the adapter's tests share."""

import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator

import libvirt
import pytest

from backend.hypervisor.connection import Connection, Lane
from backend.hypervisor.pump import ensure_pump

_NAME = "mark-of-the-tests"
_MARK = f"<network><name>{_NAME}</name></network>"
_CLOSING_S = 20.0
"""A connection closes on its lane's thread, when that one comes to it."""


def _is_open() -> bool:
    """True while a connection to `test:///default` is open anywhere in this process.

    What the test driver keeps is shared by all of them, and new again once the last one closed:
    a mark that outlives the connection that made it says that there is another.
    """
    _on_its_own(lambda conn: bool(conn.networkDefineXML(_MARK)))
    return _on_its_own(_unmarked)


def _unmarked(conn: Connection) -> bool:
    """Whether there was a mark."""
    marked = _NAME in conn.listDefinedNetworks()
    if marked:
        conn.networkLookupByName(_NAME).undefine()
    return marked


def _on_its_own(do: Callable[[Connection], bool]) -> bool:
    """What `do` says on a connection that is closed again."""
    conn = libvirt.open("test:///default")
    try:
        return do(conn)
    finally:
        conn.close()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A connection that a test leaves open would keep what it did for all who come after it."""
    ensure_pump()
    yield
    until = time.monotonic() + _CLOSING_S
    while _is_open() and time.monotonic() < until:
        gc.collect()
        time.sleep(0.02)
    assert not _is_open(), "a connection to the test driver was left open"


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane("kvm-a", "control", "test:///default")
    await lane.open()
    yield lane
    await lane.close()
