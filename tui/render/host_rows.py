"""Hosts as table rows."""

from dataclasses import dataclass

from backend.model import Host, HostState
from tui.render import units
from tui.render.ink import Ink, Spans, spans_of
from tui.render.table import Column, Note

BAR = 8
_SHORT_REASONS = (
    ("no route", "no route"),
    ("refused", "refused"),
    ("timed out", "no answer"),
    ("did not answer", "no answer"),
    ("did not give", "no answer"),
    ("does not answer", "no answer"),
    ("host key", "host key"),
    ("certificate", "certificate"),
    ("permission", "no access"),
    ("authenticat", "no access"),
)


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host and what its row needs besides."""

    host: Host
    vms: int
    now: float

    @property
    def up(self) -> bool:
        """The engine talks to it."""
        return self.host.state is HostState.UP

    def note(self) -> Note | None:
        """Why there are no figures."""
        if self.up or not self.host.reason:
            return None
        ink = Ink.BAD if self.host.state is HostState.UNREACHABLE else Ink.DIM
        # The row says which host: what counts is what ails it, and there is little room.
        reason = self.host.reason.removeprefix(f"{self.host.name} ")
        return Note("cpu", "vms", spans_of((reason, ink)))


def short_reason(reason: str) -> str:
    """Two words for a host's reason."""
    low = reason.lower()
    return next((short for sign, short in _SHORT_REASONS if sign in low), "unreachable")


def _state(row: HostRow, _width: int) -> Spans:
    if row.host.maintenance_since is not None and row.up:
        return spans_of(("● maintenance", Ink.WARN))
    if row.host.state is HostState.UP:
        return spans_of(("● up", Ink.OK))
    if row.host.state is HostState.CONNECTING:
        return spans_of(("◌ connecting", Ink.DIM))
    return spans_of((f"✕ {short_reason(row.host.reason)}", Ink.BAD))


def _load_ink(fraction: float | None) -> Ink:
    if fraction is None:
        return Ink.DIM
    return Ink.BAD if fraction >= 0.95 else Ink.WARN if fraction >= 0.85 else Ink.TEXT


def with_bar(fraction: float | None, figure: str, width: int, figure_width: int) -> Spans:
    """A bar when there is room, and the figure."""
    if fraction is None:
        return spans_of((units.DASH, Ink.DIM))
    ink = _load_ink(fraction)
    if width < BAR + 1 + figure_width:
        return spans_of((figure.rjust(figure_width), ink))
    full, empty = units.bar(fraction, BAR)
    return spans_of((full, ink), (empty, Ink.DIM), (" " + figure.rjust(figure_width), ink))


def _cpu(row: HostRow, width: int) -> Spans:
    value = row.host.cpu_percent
    return with_bar(None if value is None else value / 100, units.percent(value), width, 4)


def _memory(row: HostRow, width: int) -> Spans:
    used, total = row.host.memory_used_bytes, row.host.memory_bytes
    fraction = used / total if used is not None and total else None
    return with_bar(fraction, units.share(used, total), width, 10)


def _link(row: HostRow, _width: int) -> Spans:
    out, into = row.host.link_out_bytes_s, row.host.link_in_bytes_s
    if out is None and into is None:
        return spans_of((units.DASH, Ink.DIM))
    return spans_of(f"{units.megabytes(out):>6} / {units.megabytes(into)} MB/s")


def _migrations(row: HostRow, _width: int) -> Spans:
    host = row.host
    if not row.up and host.retry_at is not None:
        left = max(host.retry_at - row.now, 0)
        return spans_of((f"retry in {left:.0f} s" if left >= 1 else "trying now", Ink.DIM))
    parts = [f"{host.migrations_out} out"] * bool(host.migrations_out)
    parts += [f"{host.migrations_in} in"] * bool(host.migrations_in)
    return spans_of((", ".join(parts), Ink.MOVE)) if parts else spans_of((units.DASH, Ink.DIM))


def _tls(row: HostRow, _width: int) -> Spans:
    return spans_of(("encrypted", Ink.DIM) if row.host.tls else ("! plaintext", Ink.WARN))


COLUMNS: tuple[Column[HostRow], ...] = (
    Column("host", "HOST", 8, lambda r, _: spans_of((r.host.name, Ink.BOLD)), flex=16),
    Column("state", "STATE", 13, _state),
    Column("cpu", "CPU", 13, _cpu, narrow=4),
    Column("memory", "MEMORY", 19, _memory, narrow=10),
    Column("link", "LINK OUT/IN", 20, _link, rank=1),
    Column("vms", "VMS", 3, lambda r, _: spans_of(str(r.vms)), right=True),
    Column("migrations", "MIGRATIONS", 14, _migrations, narrow=13),
    Column("tls", "ENCRYPTION", 11, _tls, rank=13),
    Column(
        "cpus",
        "CPUS",
        4,
        lambda r, _: spans_of(str(r.host.cpus or units.DASH)),
        rank=14,
        right=True,
    ),
    Column(
        "speed",
        "LINK SPEED",
        10,
        lambda r, _: spans_of(units.rate(r.host.link_speed_bytes_s)),
        rank=15,
    ),
    Column("hostname", "HOSTNAME", 16, lambda r, _: spans_of(r.host.hostname), rank=16, flex=20),
)
"""In the order drawn; `rank` says which go first when the terminal is narrow."""
