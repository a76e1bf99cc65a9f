"""What `plan` and `migrate` were asked for, from the command line's words."""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

from backend.model import DiskChoice, Mode, MoveOptions, NetworkChoice
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
    parser.add_argument(
        "--mode",
        choices=[one.value for one in Mode],
        help="live; cold: of a VM that is shut off; restart: shut down, move, start; storage: only"
        " disks, to other pools of the same host",
    )
    parser.add_argument(
        "--shutdown-time",
        metavar="TIME",
        help="how long a restart waits for the guest to end: 3min",
    )
    parser.add_argument(
        "--flatten", action="store_true", help="chains of images become one image each"
    )
    parser.add_argument(
        "--disk",
        metavar="DISK=POOL[:NAME]",
        action="append",
        help="where a disk is copied to: vda=fast, vda=fast:db-1.qcow2; may be repeated",
    )
    parser.add_argument(
        "--network",
        metavar="SRC=DST",
        action="append",
        help="another bridge or network at the target; may be repeated",
    )
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="make the target ready first, as the plan says (pools, networks); undone if it stays",
    )
    parser.add_argument(
        "--remove-source",
        action="store_true",
        help="remove the source's images once the target runs the VM from its own",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Those of `evacuate` and `return`."""
    parser.add_argument("host", metavar="HOST")
    _add_options_of_runs(parser)
    parser.add_argument(
        "--place", metavar="VM=HOST", action="append", help="where it goes; repeatable"
    )


def add_roll_options(parser: argparse.ArgumentParser) -> None:
    """Those of `roll`."""
    parser.add_argument("host", metavar="HOST", nargs="+", help="in the order of their turn")
    parser.add_argument(
        "--hook",
        metavar="COMMAND",
        help="run on each host once it is empty; without it the roll waits there until"
        " `rolls resume`",
    )
    parser.add_argument("--hook-within", metavar="TIME", help="at most: 30min")
    parser.add_argument(
        "--back-within", metavar="TIME", help="the host answers again by then: 15min"
    )
    parser.add_argument(
        "--reboots", action="store_true", help="the host is back only when it has booted anew"
    )
    parser.add_argument("--to", metavar="HOST", action="append", help="only there; repeatable")
    _add_options_of_runs(parser)
    parser.set_defaults(place=None)


def _add_options_of_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plan", action="store_true", help="only say what it would be")
    parser.add_argument("--yes", action="store_true", help="do not ask, also at a terminal")
    parser.add_argument(
        "--policy", metavar="P", help="of every move; else each VM's own, or balanced"
    )
    parser.add_argument("--pause-ms", type=int, metavar="N", help="the longest pause allowed")
    parser.add_argument("--bandwidth", metavar="RATE", help="of each move, e.g. 50MB/s")
    parser.add_argument("--leave", metavar="VM", action="append", help="it stays; repeatable")
    parser.add_argument(
        "--restart",
        metavar="VM",
        action="append",
        help="shut it down, move it, start it there; repeatable",
    )
    parser.add_argument(
        "--remove-source",
        action="store_true",
        help="remove the source's images once the target runs the VM from its own",
    )
    # For benches: what the computed order is measured against.
    parser.add_argument("--fixed-cap", type=_count, help=argparse.SUPPRESS)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def run_options(options: argparse.Namespace) -> MoveOptions:
    """Of every move of a run. Raises BadInput with the option's name."""
    return MoveOptions(
        policy=options.policy,
        pause_ms=options.pause_ms,
        bandwidth_bytes_s=_typed("--bandwidth", options.bandwidth, units.parse_rate),
        remove_source=options.remove_source,
    )


def roll_span(option: str, text: str | None, otherwise: float) -> float:
    """Seconds of a time limit of a roll. Raises BadInput with the option's name."""
    return _typed(option, text, typed.parse_span) or otherwise


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
        disks=tuple(map(_disk, options.disk or ())),
        networks=tuple(map(_network, options.network or ())),
        remove_source=options.remove_source,
        prepare=options.prepare,
        mode=Mode(options.mode) if options.mode else None,
        flatten=options.flatten,
        shutdown_s=_typed("--shutdown-time", options.shutdown_time, typed.parse_span),
    )


def _disk(text: str) -> DiskChoice:
    try:
        return typed.parse_disk(text)
    except ValueError as error:
        raise BadInput(f"--disk: {error}", "As in vda=fast.") from None


def _network(text: str) -> NetworkChoice:
    source, _, target = text.partition("=")
    if not (source and target):
        raise BadInput(f"--network: {text!r} is not SRC=DST.", "As in br0=br-lan.")
    return NetworkChoice(source, target)


def _typed(option: str, text: str | None, parse: Callable[[str], T | None]) -> T | None:
    """Parsed, or None where it was not given."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None
