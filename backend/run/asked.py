"""What an operator asked for, checked before any host is: what no VM can be moved with."""

import ipaddress
from collections.abc import Iterable

from backend.errors import BadInput
from backend.model import Mode, MoveOptions

MOST_NAME_BYTES = 255


def checked(options: MoveOptions, now_s: float, vm_count: int = 1) -> None:
    """Refuse it. Raises BadInput."""
    if options.bandwidth_bytes_s is not None and options.bandwidth_bytes_s <= 0:
        raise BadInput("A bandwidth must be above 0.", "Leave it out for no limit.")
    if options.at is not None and options.at <= now_s:
        raise BadInput("The time for the pause has passed.", "Name one that is still to come.")
    if options.address is not None and not _is_address(options.address):
        raise BadInput(
            f"{options.address!r} is not a network address.", "Give an IPv4 or IPv6 address."
        )
    if options.mode is Mode.STORAGE and (options.hold or options.at or options.networks):
        raise BadInput(
            "--hold, --at and --network are for a VM that goes to another host.",
            "Leave them out: with --mode storage only its disks move.",
        )
    _check_disks(options, vm_count)
    _check_networks(options)


def _check_disks(options: MoveOptions, vm_count: int) -> None:
    for choice in options.disks:
        for name in (choice.target, choice.pool, *([choice.volume] if choice.volume else [])):
            if not is_name(name):
                raise BadInput(
                    f"--disk {choice.target!r}: {name!r} cannot be a name.",
                    "A disk, pool or volume has no slash in its name, and does not begin with - or"
                    " a dot.",
                )
        if choice.volume is not None and vm_count > 1:
            raise BadInput(
                f"--disk {choice.target}: one volume cannot take the disks of {vm_count} VMs.",
                "Leave the name out, or move one VM at a time.",
            )
    _once("--disk", (choice.target for choice in options.disks))
    places = [(choice.pool, choice.volume) for choice in options.disks if choice.volume]
    _once("the volume of --disk", (f"{pool}:{name}" for pool, name in places))


def _check_networks(options: MoveOptions) -> None:
    for one in options.networks:
        if not (is_name(one.source) and is_name(one.target)):
            raise BadInput(
                f"--network {one.source!r}={one.target!r}: that cannot be a network's name.",
                "Write SRC=DST with the names of two bridges or networks.",
            )
    _once("--network", (one.source for one in options.networks))


def _once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadInput(f"{what} names {name} twice.", "Leave one of them out.")
        seen.add(name)


def is_name(text: str) -> bool:
    """What can be the name of a disk, pool, volume or network, and is safe in a path."""
    if (
        not text
        or text.startswith(("-", "."))
        or len(text.encode("utf-8", "replace")) > MOST_NAME_BYTES
    ):
        return False
    return text.isprintable() and "/" not in text and text == text.strip()


def _is_address(text: str) -> bool:
    """A literal IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
