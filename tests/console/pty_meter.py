"""Bytes to the terminal and CPU time of a console, measured at a pty.

By itself: `python tests/console/pty_meter.py [--keys KEYS] [--seconds N] [--size 120x36] -- ARGV`
prints what any console costs, also one on a real engine.
"""

import argparse
import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

SYNC_QUERY = b"\x1b[?2026$p"
SYNC_ANSWER = b"\x1b[?2026;2$y"
"""A terminal that knows synchronized output, as most do."""


@dataclass
class Meter:
    """One console at one pty."""

    argv: Sequence[str]
    size: tuple[int, int] = (120, 36)
    env: dict[str, str] = field(default_factory=dict)
    output: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> "Meter":
        self.started = time.monotonic()
        self._master, slave = pty.openpty()
        columns, rows = self.size
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        colours = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        self._process = subprocess.Popen(
            self.argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **colours, **self.env},
            start_new_session=True,
        )
        os.close(slave)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._master)

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def read_for(self, seconds: float) -> int:
        """Read what comes for so long; how many bytes it was."""
        until = time.monotonic() + seconds
        before = len(self.output)
        while (left := until - time.monotonic()) > 0:
            self._read(left)
        return len(self.output) - before

    def read_until(self, sign: bytes, timeout: float = 10.0) -> float:
        """Read until `sign` is in the output; seconds since the start of the process."""
        until = time.monotonic() + timeout
        while sign not in self.output:
            if time.monotonic() > until:
                raise TimeoutError(f"{sign!r} was not shown within {timeout} s")
            self._read(0.05)
        return time.monotonic() - self.started

    def _read(self, timeout: float) -> None:
        if not select.select([self._master], [], [], timeout)[0]:
            return
        try:
            data = os.read(self._master, 65536)
        except OSError:
            raise RuntimeError(f"the console ended: {bytes(self.output[-2000:])!r}") from None
        if SYNC_QUERY in data:
            os.write(self._master, SYNC_ANSWER)
        self.output += data

    def ended(self, timeout: float) -> int:
        """Read on until the process ends by itself; its exit code."""
        until = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(RuntimeError):
                self._read(0.05)
        return self._process.wait(0.1)

    def kill(self) -> None:
        """As a lost terminal, or a crash, would; nothing of it is left."""
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """User and system time of the process so far."""
        with open(f"/proc/{self._process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def measure(self, seconds: float) -> tuple[float, float]:
        """Bytes a second, and percent of one core."""
        cpu, began = self.cpu_s(), time.monotonic()
        got = self.read_for(seconds)
        took = time.monotonic() - began
        return got / took, (self.cpu_s() - cpu) / took * 100

    def latencies_ms(self, key: bytes, back: bytes, count: int) -> list[float]:
        """From a key to the first byte of the answer, over and over."""
        times = []
        for index in range(count):
            self.read_for(0.11)
            began = time.monotonic()
            self.press(back if index % 2 else key)
            before = len(self.output)
            while len(self.output) == before and time.monotonic() - began < 2:
                self._read(2)
            times.append((time.monotonic() - began) * 1000)
        return sorted(times)


def main() -> None:
    """Measure a command line's console."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=3.0)
    parser.add_argument("--size", default="120x36")
    parser.add_argument("--keys", default="", help="typed after the warm-up, then 1 s of grace")
    parser.add_argument("--latency", action="store_true", help="also: p95 of down and up keys")
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    columns, rows = (int(part) for part in options.size.split("x"))
    with Meter(options.argv, (columns, rows)) as meter:
        first = meter.read_until(b"MIGRATIONS", 30)
        meter.read_for(options.warm_up)
        for key in options.keys.encode().decode("unicode_escape"):
            meter.press(key.encode())
            meter.read_for(0.4)
        if options.keys:
            meter.read_for(1)
        rate, cpu = meter.measure(options.seconds)
        print(f"first table {first:.2f} s   {rate:.0f} B/s   {cpu:.1f} % CPU")
        if options.latency:
            times = meter.latencies_ms(b"j", b"k", 60)
            print(f"keys: median {times[30]:.0f} ms, p95 {times[57]:.0f} ms")


if __name__ == "__main__":
    main()
