"""QEMU's block nodes for copying images: pure descriptions, as blockdev-add takes them."""

from collections.abc import Mapping
from typing import Any

PORTS = tuple(range(49184, 49216))
"""The upper half of libvirt's migration range, which firewalls let through: libvirt takes the
lowest port that is free, so they never meet."""
EXPORT_ID = "copy"
CREDENTIALS = "tls"

Node = Mapping[str, Any]


def file_node(
    name: str,
    path: str,
    *,
    writable: bool = False,
    block_device: bool = False,
    past_cache: bool = False,
) -> Node:
    """A file or block device, byte for byte.

    `discard` makes zeroes that come with leave to unmap holes instead of blocks of zeroes.
    `past_cache` (O_DIRECT): not all file systems can; the host's memory stays with its VMs, and
    at the end little is left to be written.
    """
    return {
        "node-name": name,
        "driver": "host_device" if block_device else "file",
        "filename": path,
        "read-only": not writable,
        "locking": "on",
        "discard": "unmap",
        "cache": {"direct": past_cache},
    }


def format_node(name: str, driver: str, file: Node, *, writable: bool = False) -> Node:
    """A guest's view of an image, backing images included."""
    return {
        "node-name": name,
        "driver": driver,
        "file": dict(file),
        "read-only": not writable,
        "discard": "unmap",
    }


def part_node(name: str, file: Node, size_bytes: int, *, writable: bool = False) -> Node:
    """The beginning of a file or block device."""
    return {**format_node(name, "raw", file, writable=writable), "size": size_bytes}


def lock_node(name: str, file_name: str) -> Node:
    """Nothing but a lock on the file of a node: nobody else may write to it or resize it.

    Reading alone takes no such lock, and the raw driver passes on what others permit; blkdebug is
    the one filter that can be told what not to share.
    """
    return {
        "node-name": name,
        "driver": "blkdebug",
        "image": file_name,
        "read-only": True,
        "unshare-child-perms": ["write", "resize"],
    }


def credentials(endpoint: str, directory: str) -> dict[str, Any]:
    """Arguments of object-add for TLS with certificates on both sides."""
    return {
        "qom-type": "tls-creds-x509",
        "id": CREDENTIALS,
        "dir": directory,
        "endpoint": endpoint,
        "verify-peer": True,
    }


def inet(address: str, port: int) -> dict[str, Any]:
    """A TCP address; "" listens on all of them."""
    return {"type": "inet", "host": address, "port": str(port)}


def unix(path: str) -> dict[str, Any]:
    """A UNIX socket's address."""
    return {"type": "unix", "path": path}


def listening(address: dict[str, Any]) -> dict[str, Any]:
    """The same for nbd-server-start, which wants the older form."""
    data = {key: value for key, value in address.items() if key != "type"}
    return {"type": address["type"], "data": data}


def nbd_node(name: str, server: dict[str, Any], export: str, *, encrypted: bool) -> Node:
    """The other host's export as a writable node; TLS checks the name that `server` has."""
    return {
        "node-name": name,
        "driver": "nbd",
        "server": server,
        "export": export,
        "discard": "unmap",
        **({"tls-creds": CREDENTIALS} if encrypted else {}),
    }
