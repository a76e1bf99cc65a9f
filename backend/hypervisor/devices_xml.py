"""The devices of a domain's XML that decide whether and how it can move. Pure.

Every reader takes an element that came from outside: an attribute can be missing or odd, names
are cleaned of control characters, and nothing here raises.
"""

import unicodedata
from xml.etree.ElementTree import Element

from backend.errors import plain
from backend.model import Disk, Nic

_NETWORK_DISK_DEFAULT = "network"
_MOST_CHARS = 4096


def text(element: Element | None, path: str, default: str = "") -> str:
    """The text at `path` below `element`, on one line."""
    if element is None:
        return default
    return plain(element.findtext(path) or "", 4096) or default


def attribute(element: Element | None, name: str, default: str = "") -> str:
    """An attribute on one line; `default` if it, or the element, is missing or empty."""
    if element is None:
        return default
    return plain(element.get(name) or "", 4096) or default


def exact_text(element: Element | None, path: str) -> str:
    """The text at `path` below `element`, as `exact` has it."""
    return "" if element is None else exact((element.findtext(path) or "").strip(" \t\r\n"))


def exact_attribute(element: Element | None, name: str) -> str:
    """An attribute, as `exact` has it."""
    return "" if element is None else exact(element.get(name) or "")


def exact(name: str) -> str:
    """A path or name as it is: tidied up, it could be another one's. What no terminal shows
    becomes U+FFFD, so that such a name fits none that exists.
    """
    if not name.isprintable():
        name = "".join("\ufffd" if _unseen(char) else char for char in name)
    return name if len(name) <= _MOST_CHARS else name[: _MOST_CHARS - 1] + "…"


def _unseen(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind[0] == "C" or kind in ("Zl", "Zp")


def read_disk(disk: Element) -> Disk:
    """A `<disk>` as the model's Disk; sizes and `shared` come from elsewhere."""
    kind = attribute(disk, "type", "file")
    driver = disk.find("driver")
    source = disk.find("source")
    return Disk(
        target=attribute(disk.find("target"), "dev", "?"),
        device=attribute(disk, "device", "disk"),
        kind=kind,
        format=attribute(driver, "type", "raw"),
        source=source_name(source, kind),
        pool=exact_attribute(source, "pool") or None,
        read_only=disk.find("readonly") is not None,
        shareable=disk.find("shareable") is not None,
        transient=disk.find("transient") is not None,
        cache=attribute(driver, "cache", "default"),
        backing=next(iter(backing_files(disk)), None),
        encrypted=disk.find("encryption") is not None or disk.find("source/encryption") is not None,
        mirrored=disk.find("mirror") is not None,
    )


def source_name(source: Element | None, kind: str) -> str | None:
    """Path, `pool/volume`, `rbd:pool/image` or the like; None for an empty drive."""
    if source is None:
        return None
    if kind == "volume" or source.get("volume"):
        return f"{exact_attribute(source, 'pool')}/{exact_attribute(source, 'volume')}"
    if kind == "network":
        protocol = attribute(source, "protocol", _NETWORK_DISK_DEFAULT)
        return f"{protocol}:{attribute(source, 'name')}"
    for name in ("file", "dev", "dir", "path"):
        if found := exact_attribute(source, name):
            return found
    return None


def backing_files(disk: Element) -> tuple[str, ...]:
    """The images below a disk's top one, nearest first; known only while the VM runs."""
    found = []
    store = disk.find("backingStore")
    while store is not None:
        name = source_name(store.find("source"), attribute(store, "type", "file"))
        if name:
            found.append(name)
        store = store.find("backingStore")
    return tuple(found)


def read_nic(interface: Element) -> Nic:
    """An `<interface>` as the model's Nic. On a libvirt network a running VM's has the type of
    what that network made of it (bridge, direct), and names the network beside.
    """
    source = interface.find("source")
    kind = attribute(interface, "type", "unknown")
    if attribute(source, "network"):
        kind = "network"
    return Nic(
        mac=attribute(interface.find("mac"), "address"),
        kind=kind,
        source=_nic_source(kind, source),
        model=attribute(interface.find("model"), "type"),
    )


def _nic_source(kind: str, source: Element | None) -> str:
    if kind == "hostdev":
        return pci_address(source.find("address") if source is not None else None)
    # A running VM's `network` interface names the bridge too: its own kind comes first.
    for name in (kind, "dev", "bridge", "network", "path", "address"):
        if found := attribute(source, name):
            return found
    return ""


def describe_hostdev(hostdev: Element) -> str:
    """`pci 0000:01:00.0`, `usb 046d:c52b`, `mdev <uuid>`, `scsi scsi_host0`."""
    kind = attribute(hostdev, "type", attribute(hostdev, "mode", "device"))
    source = hostdev.find("source")
    address = source.find("address") if source is not None else None
    if kind == "usb" and source is not None and source.find("vendor") is not None:
        vendor = attribute(source.find("vendor"), "id").removeprefix("0x")
        return f"usb {vendor}:{attribute(source.find('product'), 'id').removeprefix('0x')}"
    if kind == "usb":
        return f"usb {attribute(address, 'bus')}.{attribute(address, 'device')}"
    if kind == "mdev":
        return f"mdev {attribute(address, 'uuid')}"
    if kind == "pci":
        return f"pci {pci_address(address)}"
    adapter = attribute(source.find("adapter") if source is not None else None, "name")
    return f"{kind} {adapter}".strip()


def pci_address(address: Element | None) -> str:
    """`0000:01:00.0`, as lspci writes it."""
    parts = [
        attribute(address, name, "0").removeprefix("0x")
        for name in ("domain", "bus", "slot", "function")
    ]
    return f"{parts[0]:0>4}:{parts[1]:0>2}:{parts[2]:0>2}.{parts[3]}"


def describe_filesystem(filesystem: Element) -> str:
    """`virtiofs /srv/data as data`."""
    driver = attribute(filesystem.find("driver"), "type", "9p")
    kind = "virtiofs" if driver == "virtiofs" else "9p"
    source = filesystem.find("source")
    where = attribute(source, "dir") or attribute(source, "socket") or attribute(source, "name")
    return f"{kind} {where or '?'} as {attribute(filesystem.find('target'), 'dir', '?')}"


def describe_tpm(tpm: Element) -> str:
    """`emulator 2.0` or `passthrough /dev/tpm0`."""
    backend = tpm.find("backend")
    kind = attribute(backend, "type", "unknown")
    device = attribute(backend.find("device") if backend is not None else None, "path")
    return f"{kind} {device or attribute(backend, 'version')}".strip()


def character_files(devices: Element) -> tuple[str, ...]:
    """Host files and devices behind serial ports and consoles: they must exist at the target."""
    found = []
    for tag in ("serial", "parallel", "channel"):
        for device in devices.findall(tag):
            path = exact_attribute(device.find("source"), "path")
            if device.get("type") in ("file", "dev", "pipe") and path:
                found.append(path)
    return tuple(dict.fromkeys(found))
