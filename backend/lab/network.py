"""The lab's network: a switch, a link to each host, a link to the operator.

All of it lies in network namespaces; the machine's own gets nothing. Each step looks at what is
there and makes only what is missing, so that bringing the lab up repairs it.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backend.lab.errors import LabError
from backend.lab.layout import (
    NETNS_ROOT,
    OPERATOR_ADDRESS,
    PREFIX_LENGTH,
    RUN_ROOT,
    Lab,
    LabHost,
)
from backend.lab.mounts import is_mounted, unmount_all
from backend.lab.processes import is_namespace
from backend.lab.settings import Link, Settings
from backend.lab.shell import run

BRIDGE = "br0"
UPLINK = "up0"
OPERATOR_LINK = "eth0"
OPERATOR_PORT = "operator"

_NETNS_MOUNT_MARK = RUN_ROOT / ".made-netns-mount"
_BURST_S = 0.02
_MIN_BURST, _MAX_BURST = 64 * 1024, 512 * 1024


@dataclass(frozen=True, slots=True)
class Port:
    """A cable: an interface in a namespace, the other end a port of the switch."""

    netns: str
    interface: str
    switch_port: str


def ensure_network(lab: Lab, settings: Settings) -> list[str]:
    """Make what is missing, set every link as asked; returns what had to be made."""
    made = [name for name in lab.netns_names if _ensure_netns(name)]
    names = {name: _interfaces(name) for name in lab.netns_names}
    if BRIDGE not in names[lab.switch_netns]:
        _batch(lab.switch_netns, _bridge_commands())
    for host in lab.hosts:
        port = Port(host.netns, UPLINK, host.name)
        bridge_missing = BRIDGE not in names[host.netns]
        if bridge_missing:
            _batch(host.netns, _bridge_commands(host))
        made += _ensure_cable(lab, port, names, rejoin=bridge_missing)
        set_link(lab, host, settings.link(host.name))
    made += _ensure_cable(lab, Port(lab.operator_netns, OPERATOR_LINK, OPERATOR_PORT), names)
    return made


def set_link(lab: Lab, host: LabHost, link: Link) -> None:
    """Shape a host's uplink in both directions, and cut or restore it."""
    _shape(host.netns, UPLINK, link.out_bits_s)
    _shape(lab.switch_netns, host.name, link.in_bits_s)
    _batch(lab.switch_netns, [f"link set {host.name} {'up' if link.up else 'down'}"])


def burst_bytes(bits_s: int) -> int:
    """How much may pass at once: 20 ms' worth, within what keeps `tc` exact."""
    return round(min(_MAX_BURST, max(_MIN_BURST, bits_s / 8 * _BURST_S)))


def remove_network(lab: Lab) -> None:
    """Delete the lab's namespaces, and with them all that is in them."""
    for name in lab.netns_names:
        path = NETNS_ROOT / name
        if is_namespace(path):
            run(["ip", "netns", "delete", name])
        else:
            path.unlink(missing_ok=True)
    _remove_netns_mount()


def _ensure_netns(name: str) -> bool:
    path = NETNS_ROOT / name
    if is_namespace(path):
        return False
    path.unlink(missing_ok=True)
    if not is_mounted(NETNS_ROOT):
        RUN_ROOT.mkdir(mode=0o711, parents=True, exist_ok=True)
        _NETNS_MOUNT_MARK.touch()
    run(["ip", "netns", "add", name])
    _batch(name, ["link set lo up"])
    return True


def _remove_netns_mount() -> None:
    # `ip netns add` mounts /run/netns onto itself once and never takes that back.
    if not _NETNS_MOUNT_MARK.exists():
        return
    if NETNS_ROOT.is_dir():
        if any(NETNS_ROOT.iterdir()):
            return
        unmount_all(NETNS_ROOT)
        with suppress(OSError):
            NETNS_ROOT.rmdir()
    _NETNS_MOUNT_MARK.unlink()


def _ensure_cable(
    lab: Lab, port: Port, names: dict[str, set[str]], *, rejoin: bool = False
) -> list[str]:
    has_end = port.interface in names[port.netns]
    has_port = port.switch_port in names[lab.switch_netns]
    if has_end and has_port and not rejoin:
        return []
    # Half a cable is one whose other end went with its namespace: the kernel may still be at
    # it, so it is removed by name first.
    if has_port:
        run(["ip", "-n", lab.switch_netns, "link", "delete", port.switch_port], check=False)
    if has_end:
        run(["ip", "-n", port.netns, "link", "delete", port.interface], check=False)
    _batch(
        lab.switch_netns,
        [
            f"link add {port.switch_port} type veth peer name {port.interface} netns {port.netns}",
            f"link set {port.switch_port} master {BRIDGE} up",
        ],
    )
    _batch(port.netns, _end_commands(port))
    return [f"link of {port.switch_port}"]


def _bridge_commands(host: LabHost | None = None) -> list[str]:
    commands = [
        f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set {BRIDGE} up",
    ]
    if host is not None:
        commands.insert(1, f"link set {BRIDGE} address {host.bridge_mac}")
        commands.append(f"address replace {host.address}/{PREFIX_LENGTH} dev {BRIDGE}")
    return commands


def _end_commands(port: Port) -> list[str]:
    if port.interface == OPERATOR_LINK:
        return [
            f"address replace {OPERATOR_ADDRESS}/{PREFIX_LENGTH} dev {port.interface}",
            f"link set {port.interface} up",
        ]
    return [f"link set {port.interface} master {BRIDGE} up"]


def _interfaces(netns: str) -> set[str]:
    listed: list[dict[str, Any]] = json.loads(run(["ip", "-n", netns, "-j", "link"]).stdout)
    return {str(entry["ifname"]) for entry in listed}


def _shape(netns: str, interface: str, bits_s: int) -> None:
    rate = ["rate", f"{bits_s}bit", "burst", f"{burst_bytes(bits_s)}b", "latency", "50ms"]
    run(["tc", "-n", netns, "qdisc", "replace", "dev", interface, "root", "tbf", *rate])


def _batch(netns: str, commands: Sequence[str]) -> None:
    done = run(["ip", "-n", netns, "-batch", "-"], stdin="\n".join(commands) + "\n", check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise LabError(f"The network of {netns} could not be set up: {'; '.join(lines[:2])}.")
