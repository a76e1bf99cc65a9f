"""How an image could be copied between two hosts: tried, not guessed. Changes nothing.

Both storage daemons are started and connected to each other as for a copy, with an empty node in
place of an image: names, ports, firewalls and certificates are all in it.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from backend.errors import CallTimedOut, CopyFailed, FerryError
from backend.model import CopyRoute
from backend.remote.daemon import QmpRefused, StorageDaemon, storage_daemon
from backend.remote.digest import DigestKind, digest_kind
from backend.remote.hold import add_node
from backend.remote.nbd_link import add_credentials, connect, export_node, serve_on_free_port
from backend.remote.nodes import inet, nbd_node
from backend.remote.process import AnyHost, own_connection, together


@dataclass(frozen=True, slots=True)
class CopyMeans:
    """What the plan says about copying between two hosts."""

    route: CopyRoute | None
    """None: no way; `why` is the reason."""
    why: str
    """A sentence."""
    remedy: str = ""
    """What would make it possible, or direct."""
    digest: DigestKind = DigestKind.SPARSE


async def copy_means(
    source: AnyHost, target: AnyHost, target_address: str, encrypted: bool = True
) -> CopyMeans:
    """Find the best route from source to target; both are one object: within one host.

    Raises:
        HostUnreachable: One of them does not answer us.
    """
    kind = await digest_kind(source, target)
    try:
        if source is target:
            async with storage_daemon(source):
                return CopyMeans(CopyRoute.LOCAL, "Within the host, by QEMU.", digest=kind)
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            here, there = await together(*(enter(own_connection(h)) for h in (source, target)))
            ends = await together(*(enter(storage_daemon(host)) for host in (here, there)))
            return await _between((here, there), ends, target_address, encrypted, kind)
    except CopyFailed as error:
        return CopyMeans(None, error.sentence, error.remedy, kind)


async def _between(
    hosts: Sequence[AnyHost],
    ends: Sequence[StorageDaemon],
    address: str,
    encrypted: bool,
    kind: DigestKind,
) -> CopyMeans:
    (source, target), (reading, writing) = hosts, ends
    null = {"driver": "null-co", "size": 1 << 20, "read-only": True, "read-zeroes": True}
    await add_node(writing, {"node-name": "served", **null})
    try:
        if encrypted:
            await together(
                add_credentials(writing, target, "server"),
                add_credentials(reading, source, "client"),
            )
        port = await serve_on_free_port(writing, encrypted)
        export = await export_node(writing, writable=False)
        node = nbd_node("target", inet(address, port), export, encrypted=encrypted)
        await connect(reading, writing, {**node, "read-only": True})
    except (CopyFailed, CallTimedOut) as error:
        return _relayed(error, kind)
    how = "over TLS" if encrypted else "in plaintext, as the fleet file says"
    why = f"Straight from {source.name} to {target.name}, {how}."
    return CopyMeans(CopyRoute.DIRECT, why, digest=kind)


def _relayed(error: FerryError, kind: DigestKind) -> CopyMeans:
    said = error.said if isinstance(error, QmpRefused) else error.sentence
    why = f"Through this machine, encrypted by SSH, and slower: {said}"
    return CopyMeans(CopyRoute.RELAY, why, error.remedy, kind)
