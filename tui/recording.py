"""Migrations in a file: what `export --recording` writes and `replay` plays, without an engine.

JSON, one object a line: first what the file is, then each migration followed by its samples. The
file comes from outside: whatever is not as this program writes it is one sentence, never a crash.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from backend.model import Migration, Sample
from backend.service.client import BadInput, own_version
from tui.render.ink import clean
from tui.replay import Recording

FORMAT = 1
MOST_BYTES = 64 * 2**20
MOST_SAMPLES = 50_000
"""Of one migration: far more than an engine keeps."""
MOST_TEXT = 20_000
MOST_NUMBER = 2.0**60
LAST_EPOCH = 4_102_444_800.0
"""The year 2100: what lies beyond is no time of a migration."""
LONGEST_S = 1e9
_EPOCHS = ("at", "started", "called_at", "memory_at")
SHIPPED = Path(__file__).with_name("recordings") / "example.jsonl"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: one of these."""

    virt_ferry_recording: int | None = None
    """The format's number, in the first line."""
    version: str = ""
    migration: Migration | None = None
    sample: Sample | None = None


class _UnfitError(Exception):
    """What a line is wrong with."""


def encode(recordings: Iterable[Recording]) -> bytes:
    """As a file."""
    lines = [Entry(virt_ferry_recording=FORMAT, version=own_version())]
    for one in recordings:
        lines.append(Entry(migration=one.migration))
        lines += [Entry(sample=sample) for sample in one.samples]
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in lines)


def read(path: Path) -> tuple[Recording, ...]:
    """The migrations in a file, in its order. Raises BadInput."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"{clean(str(path))} cannot be read: {error.strerror}.", "Name a recording."
        ) from None
    return decode(content, clean(path.name))


def decode(content: bytes, name: str) -> tuple[Recording, ...]:
    """The migrations in a file's content; `name` is for the sentence. Raises BadInput."""
    if len(content) > MOST_BYTES:
        raise BadInput(f"{name} is larger than any recording.", "Name one of virt-ferry.")
    number = 0
    found: list[tuple[Migration, list[Sample]]] = []
    try:
        for number, line in enumerate(content.splitlines(), 1):
            _take(found, _entry(line), number)
        if not found:
            raise _UnfitError("there is no migration in it")
    except _UnfitError as wrong:
        where = f"line {number}: " if number else ""
        raise BadInput(
            f"{name} is not a whole recording ({where}{wrong}).",
            "Export it again with `virt-ferry export ID --recording FILE`.",
        ) from None
    return tuple(Recording(migration, tuple(samples)) for migration, samples in found)


def _entry(line: bytes) -> Entry:
    try:
        entry = msgspec.json.decode(line, type=Entry)
        _sound(msgspec.to_builtins(entry))
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise _UnfitError(clean(str(error))[:200]) from None
    return entry


def _take(found: list[tuple[Migration, list[Sample]]], entry: Entry, number: int) -> None:
    if number == 1:
        if entry.virt_ferry_recording != FORMAT:
            raise _UnfitError("it is not a recording, or one of another version")
    elif entry.migration is not None:
        if any(migration.id == entry.migration.id for migration, _ in found):
            raise _UnfitError("the same migration is in it twice")
        found.append((entry.migration, []))
    elif entry.sample is not None:
        _add(found, entry.sample)
    else:
        raise _UnfitError("neither a migration nor a sample")


def _add(found: list[tuple[Migration, list[Sample]]], sample: Sample) -> None:
    if not found:
        raise _UnfitError("a sample of no migration")
    samples = found[-1][1]
    if sample.t_s < 0 or (samples and sample.t_s <= samples[-1].t_s):
        raise _UnfitError("a sample that is not in order")
    if len(samples) >= MOST_SAMPLES:
        raise _UnfitError("more samples than any migration has")
    samples.append(sample)


def _sound(value: object, name: str = "") -> None:
    """Every figure, and the length of every text, can be shown. Raises _UnfitError."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _sound(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            _sound(inner, name)
    elif isinstance(value, str):
        if len(value) > MOST_TEXT:
            raise _UnfitError(f"{name} is too long")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _sound_number(value, name)


def _sound_number(value: float, name: str) -> None:
    if name in _EPOCHS:
        low, high = 0.0, LAST_EPOCH
    else:
        low, high = -MOST_NUMBER, LONGEST_S if name.endswith("_s") else MOST_NUMBER
        high = MOST_NUMBER if name.endswith("bytes_s") else high
    if not math.isfinite(value) or not low <= value <= high:
        raise _UnfitError(f"{name} is {value:.3g}")
