"""Storage pools made ready, and put back as they were. Blocking, for `Lane.call`.

What is taken back is told by name *and* UUID, so a pool that somebody made anew under the same
name is not touched; and nothing that holds a file is ever removed.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt

from backend.errors import BadDocument, HypervisorError
from backend.hypervisor.connection import Connection
from backend.hypervisor.devices_xml import text
from backend.hypervisor.domain_xml import parse_domain, parse_xml


def start(conn: Connection, name: str) -> str:
    """Start an inactive pool; its UUID, or nothing when it was active already."""
    pool = conn.storagePoolLookupByName(name)
    if pool.isActive():
        return ""
    pool.create(0)
    return str(pool.UUIDString())


def refresh(conn: Connection, name: str) -> str:
    """Look again which volumes there are; nothing to undo."""
    conn.storagePoolLookupByName(name).refresh(0)
    return ""


def pool_xml(name: str, path: str) -> str:
    """A directory pool; nothing in it can break out of its element."""
    root = Element("pool", type="dir")
    SubElement(root, "name").text = name
    SubElement(SubElement(root, "target"), "path").text = path
    return ElementTree.tostring(root, "unicode")


def create(conn: Connection, name: str, path: str, autostart: bool) -> str:
    """Define and start a directory pool, with its directory if there is none; its UUID, followed
    by `+` when the directory was made. Nothing is left when that fails.
    """
    if _find(conn, name) is not None:
        raise HypervisorError(f"There is a pool {name} already.", "Plan again.")
    pool = conn.storagePoolDefineXML(pool_xml(name, path), 0)
    made = False
    try:
        try:
            pool.create(0)
        except libvirt.libvirtError:
            pool.build(0)
            made = True
            pool.create(0)
        pool.setAutostart(int(autostart))
    except libvirt.libvirtError:
        _take_away(pool, made)
        raise
    return str(pool.UUIDString()) + "+" * made


def stop(conn: Connection, name: str, mark: str) -> None:
    """Stop a pool that `start` started; refused while a VM of that host uses it."""
    pool = _ours(conn, name, mark)
    if pool is None or not pool.isActive():
        return
    _must_be_unused(conn, pool, active_only=True)
    pool.destroy()


def remove(conn: Connection, name: str, mark: str) -> None:
    """Undefine a pool that `create` made, and its directory if that was made too; refused while
    it holds anything, or a VM names it.
    """
    pool = _ours(conn, name, mark)
    if pool is None:
        return
    _must_be_unused(conn, pool, active_only=False)
    if not pool.isActive():
        pool.create(0)
    pool.refresh(0)
    if names := pool.listVolumes():
        raise HypervisorError(f"The pool {name} holds {len(names)} volumes.", "Look at them first.")
    _take_away(pool, mark.endswith("+"))


def _take_away(pool: Any, made_directory: bool) -> None:
    """libvirt removes a directory only if it is empty."""
    with contextlib.suppress(libvirt.libvirtError):
        pool.destroy()
    if made_directory:
        with contextlib.suppress(libvirt.libvirtError):
            pool.delete(0)
    pool.undefine()


def _find(conn: Connection, name: str) -> Any:
    try:
        return conn.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
            return None
        raise


def _ours(conn: Connection, name: str, mark: str) -> Any:
    """The pool, or None when it is gone or another one."""
    pool = _find(conn, name)
    return pool if pool is not None and pool.UUIDString() == mark.rstrip("+") else None


def _must_be_unused(conn: Connection, pool: Any, *, active_only: bool) -> None:
    folder = text(parse_xml(pool.XMLDesc(0)), "target/path").rstrip("/") + "/"
    for dom in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE if active_only else 0):
        if any(_lies_in(path, folder, pool.name()) for path in _images(dom)):
            raise HypervisorError(
                f"{dom.name()} uses the pool {pool.name()}.", "Look at that VM first."
            )


def _lies_in(image: str, folder: str, pool: str) -> bool:
    return image.startswith((folder, f"{pool}/"))


def _images(dom: Any) -> Iterator[str]:
    """Paths, and `pool/volume`, that a VM names."""
    try:
        config = parse_domain(dom.XMLDesc(0))
    except (libvirt.libvirtError, BadDocument):
        return
    yield from (disk.source or "" for disk in config.disks)
    yield from config.backing_files
