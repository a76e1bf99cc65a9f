"""Times and places of disks as an operator types them, at a prompt or on the command line."""

import re
import time
from collections.abc import Sequence

from backend.model import DiskChoice

DEADLINE_S_MAX = 7 * 86_400.0
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_DATED = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)?")
_AGO = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(min|h|d|w)")
_AGES = {"min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_SPANS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_span(text: str) -> float:
    """`90`, `90s`, `10min`, `2h` -> seconds. Raises ValueError with a sentence."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is not a span of time: write 90s, 10min or 2h.")
    seconds = float(match[1]) * _SPANS[match[2] or "s"]
    if not 1 <= seconds <= DEADLINE_S_MAX:
        raise ValueError("A span of time lies between 1 s and 7 days.")
    return seconds


def parse_since(text: str, now: float) -> float:
    """`2d`, `12h`, `1w` ago, `02:00` (the last time it was so) or `2026-11-25` [`02:00`] -> epoch
    seconds.

    Raises ValueError with a sentence.
    """
    word = text.strip()
    if match := _AGO.fullmatch(word):
        return max(now - float(match[1]) * _AGES[match[2]], 0.0)
    if _CLOCK.fullmatch(word):
        at = parse_time(word, now)
        return at if at <= now else parse_time(word, now - 86_400)
    try:
        return max(time.mktime(time.strptime(word, "%Y-%m-%d")), 0.0)
    except (ValueError, OverflowError):
        pass
    try:
        return max(parse_time(word, now), 0.0)
    except ValueError:
        raise ValueError(
            f"{word!r} is no moment: write 2d, 12h, 02:00, 2026-11-25, or 2026-11-25 02:00."
        ) from None


def parse_time(text: str, now: float) -> float:
    """`02:00` (the next time it is so) or `2026-11-25 02:00` -> epoch seconds.

    Raises ValueError with a sentence.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is not None:
        today = time.localtime(now)
        fields = (*today[:3], int(match[1]), int(match[2]), int(match[3] or 0), 0, 0, -1)
        at = time.mktime(fields)
        if at > now:
            return at
        tomorrow = (*today[:2], today[2] + 1, *fields[3:])
        return time.mktime(tomorrow)
    for form in _DATED:
        try:
            return time.mktime(time.strptime(text.strip(), form))
        except (ValueError, OverflowError):
            continue
    raise ValueError(f"{text.strip()!r} is not a time: write 02:00, or 2026-11-25 02:00.")


def parse_disk(text: str) -> DiskChoice:
    """`vda=POOL` or `vda=POOL:NAME`. Raises ValueError with a sentence."""
    target, equals, place = text.partition("=")
    pool, colon, volume = place.partition(":")
    if not (target and equals and pool) or (colon and not volume):
        raise ValueError(f"{text!r} is not DISK=POOL or DISK=POOL:NAME.")
    return DiskChoice(target, pool, volume or None)


def parse_disks(text: str, known: Sequence[str]) -> tuple[DiskChoice, ...]:
    """Several, parted by blanks or commas; a pool alone is for the only disk in `known`. Empty: no
    choice. Raises ValueError with a sentence."""
    words = text.replace(",", " ").split()
    if len(words) == 1 and "=" not in words[0] and len(known) == 1:
        words = [f"{known[0]}={words[0]}"]
    return tuple(map(parse_disk, words))


def disk_text(choice: DiskChoice) -> str:
    """As it would be typed."""
    return f"{choice.target}={choice.pool}{f':{choice.volume}' if choice.volume else ''}"
