"""What `plan` and `migrate` were asked for, from the command line's words."""

import argparse
import re
import time

from backend.model import MoveOptions
from backend.service.client import BadInput
from tui.render import units

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_DATED = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)?")
_SPANS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both verbs have."""
    parser.add_argument("--policy", metavar="P", help="gentle, balanced, must-finish, freeze, own")
    parser.add_argument("--pause-ms", type=int, metavar="N", help="the longest pause allowed")
    parser.add_argument("--deadline", metavar="TIME", help="stay if not done by then: 90s, 10min")
    parser.add_argument("--bandwidth", metavar="RATE", help="at most this, e.g. 50MB/s")
    parser.add_argument("--hold", action="store_true", help="copy now, switch over when told")
    parser.add_argument("--at", metavar="TIME", help="when the pause is to fall: 02:00")
    parser.add_argument("--address", metavar="IP", help="the VM's, for the outage probe")


def move_options(options: argparse.Namespace) -> MoveOptions:
    """Typed. Raises BadInput with the option's name."""
    return MoveOptions(
        policy=options.policy,
        pause_ms=options.pause_ms,
        deadline_s=None if options.deadline is None else parse_span(options.deadline),
        bandwidth_bytes_s=_bandwidth(options.bandwidth),
        hold=options.hold,
        at=None if options.at is None else parse_time(options.at, time.time()),
        address=options.address,
    )


def parse_span(text: str) -> float:
    """`90`, `90s`, `10min`, `2h` -> seconds. Raises BadInput."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"--deadline: {text!r} is not a span of time.", "E.g. 90s, 10min, 2h.")
    return float(match[1]) * _SPANS[match[2] or "s"]


def parse_time(text: str, now: float) -> float:
    """`02:00` (the next time it is so) or `2026-11-25 02:00` -> epoch seconds. Raises BadInput."""
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
    raise BadInput(f"--at: {text!r} is not a time.", "E.g. 02:00, or 2026-11-25 02:00.")


def _bandwidth(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return units.parse_rate(text)
    except ValueError as error:
        raise BadInput(f"--bandwidth: {error}") from None
