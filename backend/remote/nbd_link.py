"""The NBD connection between two storage daemons: served at the target, opened at the source."""

import secrets
from typing import Any

from backend.errors import CopyFailed, HostUnreachable
from backend.remote.certificates import migration_certificates
from backend.remote.daemon import QmpRefused, StorageDaemon
from backend.remote.hold import add_node
from backend.remote.nodes import CREDENTIALS, EXPORT_ID, PORTS, Node, credentials, inet, listening
from backend.remote.process import AnyHost
from backend.remote.shell import run_script

CONNECT_LIMIT_S = 15.0
# 0 too where it cannot be tried.
_TRY = """
command -v bash >/dev/null 2>&1 || exit 0
timeout 4 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null
"""


async def answers(source: AnyHost, address: str, port: int) -> bool:
    """Whether a connection from the source to that port comes about within 4 s."""
    return (await run_script(source, _TRY, address, str(port))).exit_status == 0


async def serve(daemon: StorageDaemon, address: dict[str, Any], *, encrypted: bool) -> None:
    """Start the daemon's NBD server. Raises QmpRefused."""
    more = {"tls-creds": CREDENTIALS} if encrypted else {}
    await daemon.call("nbd-server-start", addr=listening(address), **more)


async def serve_on_free_port(daemon: StorageDaemon, encrypted: bool) -> int:
    """The port that the NBD server listens on, on all addresses. Raises CopyFailed."""
    ports = list(PORTS)
    secrets.SystemRandom().shuffle(ports)
    said = ""
    for port in ports:
        try:
            await serve(daemon, inet("", port), encrypted=encrypted)
        except QmpRefused as error:
            said = error.said
            if "in use" not in said:
                break
        else:
            return port
    raise CopyFailed(f"{daemon.host} cannot serve the copy: {said}.")


async def export_node(daemon: StorageDaemon, *, writable: bool = True) -> str:
    """Serve node `served`; its NBD name, which nobody can guess. Raises QmpRefused."""
    export = secrets.token_hex(16)
    more = {"node-name": "served", "name": export, "writable": writable}
    await daemon.call("block-export-add", type="nbd", id=EXPORT_ID, **more)
    return export


async def connect(reading: StorageDaemon, writing: StorageDaemon, node: Node) -> None:
    """Open the target's export at the source. Raises CopyFailed."""
    try:
        await add_node(reading, node, CONNECT_LIMIT_S)
    except QmpRefused as error:
        said = error.said
    except HostUnreachable:
        if reading.over:
            raise
        said = "it does not answer"
    else:
        return
    raise CopyFailed(
        f"{reading.host} cannot reach {writing.host} for the copy: {said}.",
        "Open ports 49152 to 49215 there, and see that both trust the same CA.",
    )


async def add_credentials(daemon: StorageDaemon, host: AnyHost, endpoint: str) -> None:
    directory = (await migration_certificates(host)).directory
    try:
        await daemon.call("object-add", **credentials(endpoint, directory))
    except QmpRefused as error:
        raise CopyFailed(
            f"{daemon.host} cannot use its certificates in {directory}: {error.said}.",
            "Set up QEMU's TLS certificates there (libvirt.org/tls).",
        ) from None
