"""Everything that crosses the lab's switch, searched for a known pattern."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.lab.conftest import Lab

PATTERN = b"a known pattern "

_PROGRAM = f"""
import socket, sys, threading, time
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
tap.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
tap.settimeout(0.2)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
print("on", flush=True)
seen = hits = 0
# What is under way when the copy is over still comes out of the buffer.
until = None
while until is None or time.monotonic() < until:
    if until is None and over.is_set():
        until = time.monotonic() + 1
    try:
        packet = tap.recv(1 << 16)
    except TimeoutError:
        continue
    seen += len(packet)
    hits += {PATTERN!r} in packet
print(seen, hits)
"""


@dataclass(slots=True)
class Captured:
    """Known once the block is over."""

    seen_bytes: int = 0
    hits: int = 0
    """Packets with the pattern in them."""


@asynccontextmanager
async def capture(lab: Lab) -> AsyncIterator[Captured]:
    """Of all that crosses it during the block."""
    found = Captured()
    tap = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", lab.switch_netns, sys.executable, "-c", _PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert tap.stdout is not None
        await tap.stdout.readline()
        yield found
        out, _ = await tap.communicate(b"")
        found.seen_bytes, found.hits = map(int, out.split())
    finally:
        if tap.returncode is None:
            tap.kill()
            await tap.wait()
