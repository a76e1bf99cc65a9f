"""Sockets that live in another network namespace, opened without starting a process."""

import ctypes
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from backend.lab.layout import NETNS_ROOT

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def connect(netns: str, address: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection from inside the named namespace; OSError as connect(2) has it."""
    made = _socket_in(netns)
    try:
        made.settimeout(timeout_s)
        made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made


def _socket_in(netns: str) -> socket.socket:
    # A socket keeps the namespace it was made in. The thread that enters the namespace ends
    # right after, so no other code can ever run in the wrong network.
    with ThreadPoolExecutor(max_workers=1) as visitor:
        return visitor.submit(_enter_and_make, netns).result()


def _enter_and_make(netns: str) -> socket.socket:
    if threading.current_thread() is threading.main_thread():
        raise RuntimeError("the main thread never leaves its network namespace")
    handle = os.open(NETNS_ROOT / netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(handle, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(handle)
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def reads_banner(netns: str, address: str, port: int, banner: bytes, timeout_s: float) -> bool:
    """True if the server there greets with these bytes."""
    with suppress(OSError), connect(netns, address, port, timeout_s) as connection:
        return connection.recv(len(banner)) == banner
    return False
