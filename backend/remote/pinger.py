"""Probes of one address from one host, as a stream: what a client on the network sees.

`ping` where it is there, else TCP connects (a refused one is an answer too). Whatever does the
probing prints a header and lines as `ping -D -O` does; their times are the host's own clock. The
script ends when nobody reads any more (SIGPIPE at its next line), and in any case after a time: a
host whose SSH link died is not probed from for ever.
"""

import ipaddress
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from backend.errors import BadInput
from backend.remote.process import start
from backend.remote.shell import LocalShell
from backend.remote.ssh import SshHost

LIMIT_S = 4 * 3600
"""A probe ends after this time by itself."""
TCP_PORT = 22

PROBE_SCRIPT = r"""
export LC_ALL=C
a=$1 port=$2 limit=$3 how=$4
in_batches() {
  # Five lines at once: for the reader each packet costs more than the lines in it.
  k=1 n=0 first=10 all=
  while read -r line; do
    case $line in "probe "*" 20") k=5 ;; "probe "*) k=1 ;; esac
    all="$all$line
" n=$((n + 1)) first=$((first - 1))
    if [ "$n" -ge "$k" ] || [ "$first" -gt 0 ]; then printf %s "$all" || exit; n=0 all=; fi
  done
  printf %s "$all"
}
probing() {
if [ "$how" != tcp ] && ping -V 2>&1 | grep -q iputils; then
  # 2: it could not probe at all. Older ones let only root ping more than five times a second.
  for every in 0.02 0.20; do
    case $every in 0.02) echo "probe icmp 20" ;; *) echo "probe icmp 200" ;; esac
    ping -D -n -O -i "$every" -w "$limit" "$a" 2>/dev/null
    [ $? -le 1 ] && exit 0
  done
fi
if command -v python3 >/dev/null 2>&1; then
  echo "probe tcp 20"
  python3 -uc '
import select, socket, sys, time
a, port, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
family = socket.AF_INET6 if ":" in a else socket.AF_INET
n, due, poll, waiting = 0, time.monotonic(), select.poll(), {}
def tell(ok, k):
    words = "0 bytes from %s:" % a if ok else "no answer yet for"
    print("[%.6f] %s icmp_seq=%d" % (time.time(), words, k % 65536))
def drop(fd):
    poll.unregister(fd)
    waiting.pop(fd)[0].close()
while time.monotonic() < end:
    now = time.monotonic()
    if now >= due:
        if any(k == n for _, k, _ in waiting.values()):
            tell(False, n)
        for fd in [fd for fd, (_, _, begun) in waiting.items() if now - begun > 0.9]:
            drop(fd)
        n, due = n + 1, max(due + 0.02, now)
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.connect_ex((a, port))
        waiting[s.fileno()] = (s, n, now)
        poll.register(s, select.POLLOUT)
    for fd, _ in poll.poll(max(0, (due - time.monotonic()) * 1000)):
        s, k, _ = waiting[fd]
        tell(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, 104, 111), k)
        drop(fd)
' "$a" "$port" "$limit" </dev/null 2>/dev/null
  exit 0
fi
if command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1; then
  echo "probe tcp 200"
  bash -c '
n=0
while ((SECONDS < $3)); do
  n=$((n + 1))
  r=$(timeout 0.2 bash -c "exec 3<>/dev/tcp/\$0/\$1" "$1" "$2" 2>&1)
  if [ $? = 0 ] || [[ $r == *refused* ]]; then w="0 bytes from $1:"; else w="no answer yet for"; fi
  echo "[$EPOCHREALTIME] $w icmp_seq=$((n % 65536))" || exit
  sleep 0.18
done' probe "$a" "$port" "$limit" </dev/null 2>/dev/null
  exit 0
fi
echo "probe none 0"
}
probing | in_batches
"""

_HEADER = re.compile(r"probe (icmp|tcp|none) ([0-9]{1,5})")
_LINE = re.compile(
    r"\[([0-9]{1,12}\.[0-9]{1,9})\] (?:(no answer yet for)|[0-9]{1,5} bytes from [0-9a-fA-F:.]+:)"
    r" icmp_seq=([0-9]{1,5})(?![0-9])"
)


@dataclass(frozen=True, slots=True)
class Probing:
    """What the probes that follow are; their numbers begin anew."""

    kind: str
    """icmp, tcp, or none: that host has nothing to probe with."""
    interval_ms: int


@dataclass(frozen=True, slots=True)
class Probed:
    """An answer, or that one had not come when the next probe was sent."""

    at_s: float
    """Epoch seconds by the clock of the host that probes."""
    number: int
    """Modulo 65536."""
    answered: bool


def parse_line(line: str) -> Probing | Probed | None:
    """One line of the script; None for what says nothing of ours (ping's banner, errors)."""
    if match := _LINE.match(line):
        return Probed(float(match[1]), int(match[3]) % 65536, match[2] is None)
    if match := _HEADER.fullmatch(line):
        return Probing(match[1], int(match[2]))
    return None


async def probe(
    shell: SshHost | LocalShell,
    address: str,
    *,
    tcp: bool = False,
    port: int = TCP_PORT,
    limit_s: int = LIMIT_S,
) -> AsyncIterator[Probing | Probed]:
    """Probe `address` from there until closed; `tcp`: by TCP connects even if ping is there.

    Raises:
        BadInput: `address` is not a literal address.
        HostUnreachable: The connection to the host is lost.
        BadDocument: The host sends what is not lines.
    """
    how = "tcp" if tcp else ""
    command = ["/bin/sh", "-s", "--", _literal(address), str(port), str(limit_s), how]
    lines = (
        shell.stream(shlex.join(command), PROBE_SCRIPT)
        if isinstance(shell, SshHost)
        else _local_lines(command, PROBE_SCRIPT)
    )
    async with aclosing(lines) as stream:  # type: ignore[type-var]
        async for line in stream:
            found = parse_line(line)
            if found is not None:
                yield found


def _literal(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise BadInput(f"{address!r} is not an address.", "Give an IPv4 or IPv6 address.") from None


async def _local_lines(command: list[str], script: str) -> AsyncIterator[str]:
    """On this machine; ended with all its children when closed."""
    process = await start(LocalShell(), command)
    try:
        await process.write(script.encode())
        process.close_input()
        async for line in process.lines():
            yield line
    finally:
        await process.close()
