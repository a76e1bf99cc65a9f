"""libvirt's event loop, run by one daemon thread for the whole process.

libvirt's own default implementation, not `libvirtaio`: under asyncio the latter delivers events
late (0.7-404 ms) or, in debug mode, not at all, because its hooks run in whatever thread makes
the call. Here an event takes 0.5-1.8 ms to the loop.
"""

import threading
from typing import Any

import libvirt

_lock = threading.Lock()
_thread: threading.Thread | None = None
_stopping = threading.Event()
_registered = False


def ensure_pump() -> None:
    """Run the event loop if it does not run yet. Must come before the first `open`.

    Also silences libvirt's habit of printing errors on stderr, which would land on the screen.
    """
    global _thread
    with _lock:
        _register()
        if _thread is not None and _thread.is_alive():
            return
        _stopping.clear()
        _thread = threading.Thread(target=_pump, name="libvirt-pump", daemon=True)
        _thread.start()


def stop_pump(timeout_s: float = 2.0) -> None:
    """End the event loop's thread; `ensure_pump` starts it again."""
    global _thread
    with _lock:
        if _thread is None:
            return
        _stopping.set()
        _wake()
        _thread.join(timeout_s)
        _thread = None


def _register() -> None:
    """Libvirt keeps both for the life of the process, so they are registered once."""
    global _registered
    if not _registered:
        libvirt.registerErrorHandler(_swallow, None)
        libvirt.virEventRegisterDefaultImpl()
        _registered = True


def _pump() -> None:
    while not _stopping.is_set():
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            # A failed poll() leaves nothing to do but to poll again, not in a busy loop.
            _stopping.wait(0.1)


def _wake() -> None:
    """The loop sleeps in poll() until something happens: let a timer of 0 ms happen."""
    libvirt.virEventAddTimeout(0, _expired, [])


def _expired(timer: int, opaque: Any) -> None:
    libvirt.virEventRemoveTimeout(timer)


def _swallow(_context: None, _error: Any) -> None:
    """Errors reach us as exceptions."""
