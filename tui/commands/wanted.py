"""What `plan` and `migrate` were asked for, from the command line's words."""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

from backend.model import MoveOptions
from backend.service.client import BadInput
from tui.render import typed, units

T = TypeVar("T")


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
        deadline_s=_typed("--deadline", options.deadline, typed.parse_span),
        bandwidth_bytes_s=_typed("--bandwidth", options.bandwidth, units.parse_rate),
        hold=options.hold,
        at=_typed("--at", options.at, lambda text: typed.parse_time(text, time.time())),
        address=options.address,
    )


def _typed(option: str, text: str | None, parse: Callable[[str], T | None]) -> T | None:
    """Parsed, or None where it was not given."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None
