"""What a copy takes of its storage beside what its original takes: told when it is not the same.

Files that are copied byte for byte take the same but for what is reserved. A mirror copies what
the guest sees, in pieces of 64 KiB, and QEMU has no say in where an image's room lies.
"""

import logging

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.model import DiskMove
from backend.plan.wording import memory
from backend.remote.copy_job import granularity_bytes
from backend.remote.images import data_map, file_stamp
from backend.remote.reserved import keep_reserved, takes_less, takes_more
from backend.remote.shell import Shell

log = logging.getLogger(__name__)

FLATTENED = "what it lay on is in it now"
MIRROR_PIECE_BYTES = 1 << 16
"""How finely QEMU looks at holes where nobody tells it; libvirt lets nobody in a migration."""


async def mirrored_room(source: HostWatch, target: HostWatch, move: DiskMove) -> str:
    """After a mirror: reserve what the old image has reserved; a clause on what both take where
    that differs, or nothing."""
    here, there, path = source.shell, target.shell, move.destination or ""
    if here is None or there is None or move.device:
        return ""
    virtual = None if move.format == "raw" else move.virtual_bytes or 0
    why = await keep_reserved(here, move.source, there, path, virtual_bytes=virtual)
    less, more = why or _why_less(move), _why_more(move)
    return await room_words((here, move.source), (there, path), less, more)


async def room_words(old: tuple[Shell, str], new: tuple[Shell, str], less: str, more: str) -> str:
    """`; it takes 2.0 G, the old image 1.0 G (WHY)`; nothing where they take the same.

    `less`, `more`: why it might; a sentence's part, or nothing.
    """
    try:
        was = (await file_stamp(*old)).allocated_bytes
        now = (await file_stamp(*new)).allocated_bytes
    except FerryError as error:
        log.info("sizes of %s and %s: %s", old[1], new[1], error.sentence)
        return ""
    if not was or not (takes_less(now, was) or takes_more(now, was)):
        return ""
    why = less if now < was else more
    return f"; it takes {memory(now)}, the old image {memory(was)}{f' ({why})' if why else ''}"


async def fine_enough(host: HostWatch, move: DiskMove) -> int | None:
    """How finely a copy of a raw image has to look at holes; None: as QEMU does by itself."""
    if host.shell is None or move.device or move.format != "raw" or not move.virtual_bytes:
        return None
    try:
        data = await data_map(host.shell, move.source, move.format, move.virtual_bytes)
    except FerryError as error:
        log.info("holes of %s: %s", move.source, error.sentence)
        return None
    fine = granularity_bytes(data)
    return fine if fine < MIRROR_PIECE_BYTES else None


def _why_more(move: DiskMove) -> str:
    if move.flattened:
        return FLATTENED
    pieces = "data goes in pieces of 64 KiB, holes within one are filled"
    if move.format == "raw":
        return pieces
    return f"{pieces}; what is compressed, or laid out and never written, is written out"


def _why_less(move: DiskMove) -> str:
    """Raw images hold nothing but what the guest sees."""
    return "" if move.format == "raw" else "what the guest does not see of it did not go along"
