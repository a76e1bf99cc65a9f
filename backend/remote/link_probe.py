"""How fast the way from one host to another is: a second of random bytes, counted at its end.

A receiver on the target listens on a port that libvirt's migrations use too (so firewalls let it
through), and tells the sender on the source what it counted. Both are Python programs given to
`python3 -` through standard input: nothing is installed, nothing written, the token is in no
process list. Both end by themselves after a few seconds, whatever happens to us.

The first 30 % of the time are left out: token buckets start with a burst, TCP starts slowly. Of one
among several probes that share a wire only the middle counts: they do not begin together, and one
that still has the wire to itself, or has it again, counts what the others would have had.
"""

import json
import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from backend.errors import plain
from backend.remote.shell import CommandResult, Shell

PORTS = tuple(range(49184, 49216))
"""The upper half of libvirt's range: it takes the lowest that is free, so they never meet."""
_LIFE_S = 5
"""The longest that receiver and sender live."""
LIMIT_S = 2 * (_LIFE_S + 1.0)

_RECEIVER = r"""
import hmac, os, random, signal, socket, sys, time

def listening():
    ports = random.sample(GIVEN["ports"], len(GIVEN["ports"]))
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "")):
        for port in ports:
            try:
                door = socket.socket(family, socket.SOCK_STREAM)
                if family == socket.AF_INET6:
                    door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                door.bind((address, port))
                door.listen(1)
                return door
            except OSError as error:
                reason = error
    sys.exit("no port to listen on: %s" % reason)

def admitted(door):
    token = GIVEN["token"].encode()
    while True:
        guest = door.accept()[0]
        try:
            guest.settimeout(1.0)
            said = b""
            while len(said) < len(token):
                more = guest.recv(len(token) - len(said))
                if not more:
                    break
                said += more
            if hmac.compare_digest(said, token):
                return guest
        except OSError:
            pass
        guest.close()

def counted(guest):
    guest.settimeout(0.1)
    room, total, marks = bytearray(1 << 20), 0, []
    while not marks or (time.monotonic() - marks[0][0] < GIVEN["lasts_s"]
                        and total < GIVEN["at_most"]):
        try:
            more = guest.recv_into(room)
        except TimeoutError:
            continue
        if not more:
            break
        total += more
        marks.append((time.monotonic(), total))
    return marks

def rate(marks):
    begun, took = marks[0][0], marks[-1][0] - marks[0][0]
    (at, before), (until, after) = (
        [mark for mark in marks if mark[0] <= begun + part * took][-1] for part in GIVEN["part"]
    )
    return (after - before) / (until - at) if until > at else 0.0

door = listening()
print(door.getsockname()[1], flush=True)
if os.fork():
    os._exit(0)
os.setsid()
nothing = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(nothing, number)
signal.alarm(GIVEN["life_s"])
guest = admitted(door)
door.close()
marks = counted(guest)
took = marks[-1][0] - marks[0][0] if marks else 0.0
said = "%.0f %d %.3f\n" % (rate(marks) if marks else 0.0, marks[-1][1] if marks else 0, took)
guest.settimeout(None)
guest.sendall(said.encode())
while guest.recv(1 << 20):
    pass
"""

_SENDER = r"""
import os, select, signal, socket, struct, sys, time

signal.alarm(GIVEN["life_s"])
until = time.monotonic() + GIVEN["life_s"] - 1
try:
    way = socket.create_connection((GIVEN["host"], GIVEN["port"]), timeout=GIVEN["life_s"] - 2)
    # What is not sent yet when it ends is thrown away, not sent on.
    way.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    way.sendall(GIVEN["token"].encode())
    way.setblocking(False)
    block, at, said = memoryview(os.urandom(1 << 18)), 0, b""
    while time.monotonic() < until and not said.endswith(b"\n"):
        told, free, _ = select.select([way], [way], [], 0.2)
        if told:
            more = way.recv(100)
            if not more:
                break
            said += more
        elif free:
            at = (at + way.send(block[at:])) % len(block)
    way.close()
except OSError as error:
    sys.exit(str(error))
if not said.endswith(b"\n"):
    sys.exit("nothing came back in time")
sys.stdout.write(said.decode())
"""

_HOST = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,16})?"
)
_COUNTED = re.compile(r"(\d{1,13}) (\d{1,9}) (\d{1,3}\.\d{3})\n")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a probe sends, and which part of it counts."""

    lasts_s: float
    at_most_bytes: int
    part: tuple[float, float]
    """Of the time, from where to where."""


ALONE = Extent(1.0, 48 * 10**6, (0.3, 1.0))
AMONG_OTHERS = Extent(2.6, 10**9, (0.4, 0.7))
"""The middle of one lies within the whole of any other that began up to 0.8 s before or after."""


@dataclass(frozen=True, slots=True)
class LinkProbe:
    """What the receiver counted."""

    rate_bytes_s: float | None
    """Of payload, over the part of the time that counts; None: not known."""
    why: str = ""
    """Why it is not known."""
    sent_bytes: int = 0
    took_s: float = 0.0


async def probe_link(
    source: Shell, target: Shell, migrate_uri: str, extent: Extent = ALONE
) -> LinkProbe:
    """Send for a second, or 48 MB, from source to the host that the URI names at the source.

    It loads the link: not for when something else of importance uses it.

    Raises:
        HostUnreachable: One of the two does not answer us.
    """
    host = _host(migrate_uri)
    if host is None:
        return LinkProbe(None, "its migration URI names no host")
    token = secrets.token_hex(16)
    door = await _python(
        target,
        _RECEIVER,
        ports=PORTS,
        token=token,
        lasts_s=extent.lasts_s,
        at_most=extent.at_most_bytes,
        part=extent.part,
        life_s=_LIFE_S,
    )
    port = door.stdout.strip()
    if door.exit_status != 0 or not port.isascii() or not port.isdigit():
        return LinkProbe(None, _said(door, target.name))
    sent = await _python(source, _SENDER, host=host, port=int(port), token=token, life_s=_LIFE_S)
    return parse_probe(sent, source.name)


def parse_probe(result: CommandResult, source: str) -> LinkProbe:
    """What the sender printed: bytes/s, bytes, seconds."""
    found = _COUNTED.fullmatch(result.stdout)
    if result.exit_status != 0 or found is None:
        return LinkProbe(None, _said(result, source))
    if float(found[1]) <= 0:
        return LinkProbe(None, "too little came through to count")
    return LinkProbe(float(found[1]), "", int(found[2]), float(found[3]))


def _host(uri: str) -> str | None:
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        return None
    return host if host and _HOST.fullmatch(host) else None


async def _python(shell: Shell, program: str, **given: object) -> CommandResult:
    text = f"GIVEN = {json.dumps(given)}\n{program}"
    return await shell.run("exec python3 -I -", _LIFE_S + 1.0, input=text)


def _said(result: CommandResult, host: str) -> str:
    if result.exit_status in (126, 127):
        return f"there is no python3 on {host}"
    last = result.stderr.strip().splitlines()[-1:]
    return plain(f"{host}: {last[0]}" if last else f"{host} gave no figure", 200)
