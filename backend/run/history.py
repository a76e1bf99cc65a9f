"""What past migrations have taught: how each VM writes, and how good the forecasts have been.

One line of JSON for each that has ended, in a file of the state directory (0600). A file that
cannot be read or written costs what it knew and nothing else.
"""

import logging
import os
from collections import deque
from pathlib import Path
from statistics import median

import msgspec

from backend.model import Band, TrackRecord
from backend.plan.outset import Past
from backend.plan.pause import LEARNED_FROM

log = logging.getLogger(__name__)

KEPT = 1000
"""Of the newest; the file is cut to these when the engine starts."""
JUDGED = 100
"""The track record is that of the newest forecasts."""
PAUSES = 12
"""So many of the newest tell what a pause takes."""
MOST_BYTES = 16 * 2**20


class PastMove(msgspec.Struct, frozen=True):
    """One migration that has ended."""

    uuid: str
    source: str
    target: str
    ended: float
    """Epoch seconds."""
    moved: bool
    mode: str
    total_s: float
    pause_ms: int | None
    pause_limit_ms: int | None
    passes: tuple[tuple[float, float], ...] = ()
    """(seconds, unique bytes written in them) of passes without a throttle."""
    empty_bytes: float | None = None
    link_bytes_s: float | None = None
    forecast_s: Band | None = None
    forecast_pause_ms: Band | None = None
    changed_by_hand: bool = False
    """An operator steered it: the forecast is not judged by it."""


class History:
    """The past moves of one user's engine, oldest first. `path` None: kept in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._moves: deque[PastMove] = deque(maxlen=KEPT)
        self._torn = False
        """The file ends in half a line."""
        if path is not None:
            self._read(path)

    def add(self, move: PastMove) -> None:
        """Remember one, here and in the file."""
        self._moves.append(move)
        if self._path is not None:
            self._append(self._path, move)

    def past_of(self, uuid: str) -> tuple[Past, ...]:
        """What a VM's own moves have shown, newest first."""
        moves = [move for move in reversed(self._moves) if move.uuid == uuid and move.passes]
        return tuple(Past(move.passes, move.empty_bytes) for move in moves[:5])

    def pauses_ms(self, target: str) -> tuple[float, ...]:
        """What the newest pauses took besides half of their limit, newest first: those at this
        target where there are enough, else those anywhere.
        """
        seen = [
            (move.target, max(0.0, move.pause_ms - 0.5 * move.pause_limit_ms))
            for move in reversed(self._moves)
            if move.moved and move.pause_ms is not None and move.pause_limit_ms is not None
        ]
        there = [over for host, over in seen if host == target]
        every = [over for _, over in seen]
        return tuple((there if len(there) >= LEARNED_FROM else every)[:PAUSES])

    def record(self) -> TrackRecord | None:
        """How good the forecasts have been; None before the first."""
        judged = [
            (move.total_s, move.forecast_s)
            for move in self._moves
            if move.moved and not move.changed_by_hand and move.forecast_s is not None
        ][-JUDGED:]
        if not judged:
            return None
        errors = [100 * abs(took - band.mid) / took for took, band in judged if took > 0]
        held = sum(band.low <= took <= band.high for took, band in judged)
        return TrackRecord(
            count=len(judged),
            median_error_percent=round(median(errors), 1) if errors else 0.0,
            bands_held_percent=round(100 * held / len(judged), 1),
        )

    def _read(self, path: Path) -> None:
        decode = msgspec.json.Decoder(PastMove).decode
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                file.seek(max(0, size - MOST_BYTES))
                content = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read: %s", path, error)
            return
        lines, self._torn = content.splitlines(), content[-1:] not in (b"", b"\n")
        for line in lines:
            try:
                self._moves.append(decode(line))
            except (msgspec.DecodeError, ValueError, RecursionError):
                continue  # half a line, or another version's
        if len(lines) > 2 * KEPT:
            self._rewrite(path)

    def _append(self, path: Path, move: PastMove) -> None:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(b"\n" * self._torn + msgspec.json.encode(move) + b"\n")
            self._torn = False
        except OSError as error:
            self._torn = True
            log.warning("%s cannot be written: %s", path, error)

    def _rewrite(self, path: Path) -> None:
        scratch = path.with_suffix(".new")
        try:
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(b"".join(msgspec.json.encode(move) + b"\n" for move in self._moves))
            scratch.replace(path)
            self._torn = False
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error)
