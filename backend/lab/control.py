"""Changing a lab that is up: what its VMs write, and the links of its hosts."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from backend.lab.domains import SHUT_OFF, survey
from backend.lab.errors import LabError, LabUsageError
from backend.lab.guest_link import GuestReport, set_disk_writer, set_writer
from backend.lab.layout import LabVm
from backend.lab.network import set_link
from backend.lab.rates import parse_link_rate, parse_size, parse_write_rate, show_bytes
from backend.lab.settings import Link, load, locked, require, save


@dataclass(frozen=True, slots=True)
class LinkWish:
    """How a link is to be changed; None: as it is."""

    in_bits_s: int | None = None
    out_bits_s: int | None = None
    up: bool | None = None

    def applied_to(self, link: Link) -> Link:
        return Link(
            in_bits_s=link.in_bits_s if self.in_bits_s is None else self.in_bits_s,
            out_bits_s=link.out_bits_s if self.out_bits_s is None else self.out_bits_s,
            up=link.up if self.up is None else self.up,
        )


def parse_link_wish(both: str | None, inward: str | None, outward: str | None) -> LinkWish:
    """What `lab link HOST RATE|down|up [--in RATE] [--out RATE]` asks for."""
    if both is None and inward is None and outward is None:
        raise LabUsageError("Say what the link is to be: a rate such as 200mbit, down, or up.")
    up: bool | None = None
    rate: int | None = None
    if both in ("up", "down"):
        up = both == "up"
    elif both is not None:
        rate = parse_link_rate(both)
    return LinkWish(
        in_bits_s=rate if inward is None else parse_link_rate(inward),
        out_bits_s=rate if outward is None else parse_link_rate(outward),
        up=up,
    )


def change_link(lab_name: str, host_name: str, wish: LinkWish) -> Link:
    """Shape, cut or restore a host's link; kept for the next `up`."""
    lab, _ = require(lab_name)
    host = lab.host(host_name)
    with locked(lab, create=False):
        settings = load(lab_name)
        if settings is None:
            raise LabUsageError(f"The lab {lab_name!r} was taken down meanwhile.")
        link = wish.applied_to(settings.link(host.name))
        set_link(lab, host, link)
        save(lab, settings.with_link(host.name, link))
    return link


def change_writer(lab_name: str, vm_name: str, rate: str, over: str | None) -> GuestReport:
    """Set what one VM writes, wherever it is."""
    lab, _ = require(lab_name)
    vm = lab.vm(vm_name)
    write_bytes_s = parse_write_rate(rate)
    over_bytes = None if over is None else parse_size(over)
    if over_bytes is not None and over_bytes < 4096:
        raise LabUsageError(f"{over!r} is too little to write over: at least 4096 bytes (a page).")
    place = survey(lab).place(vm.name)
    if place is not None and place.state == SHUT_OFF:
        raise LabUsageError(f"{vm.name} is shut off on {place.host.name}: it writes nothing.")
    try:
        return set_writer(lab, vm, write_bytes_s, over_bytes)
    except LabUsageError as error:
        raise LabUsageError(f"{vm.name} was not changed. {error}") from None


def change_disk_writer(lab_name: str, vm_name: str, rate: str, over: str) -> GuestReport:
    """Set what one VM writes to its disk."""
    lab, _ = require(lab_name)
    vm = lab.vm(vm_name)
    try:
        return set_disk_writer(lab, vm, parse_write_rate(rate), parse_size(over))
    except LabUsageError as error:
        raise LabUsageError(f"{vm.name} was not changed. {error}") from None


def quiet(lab_name: str, spared: list[str]) -> list[str]:
    """Silence every writer, to memory and to disks, but those spared; returns a line for each VM
    that was silenced."""
    lab, _ = require(lab_name)
    spared_names = {lab.vm(name).name for name in spared}
    seen = survey(lab)
    vms = [
        vm
        for vm in lab.vms
        if vm.name not in spared_names
        and (place := seen.place(vm.name)) is not None
        and place.state != SHUT_OFF
    ]

    def silence(vm: LabVm) -> str | None:
        with suppress(LabError):
            report = set_writer(lab, vm, 0, None)
            if report.disk_write_bytes_s:
                set_disk_writer(lab, vm, 0, report.disk_over_bytes)
            return None
        return vm.name

    with ThreadPoolExecutor(16) as pool:
        deaf = [name for name in pool.map(silence, vms) if name]
    if deaf:
        raise LabError(
            f"{', '.join(deaf)} did not answer and may go on writing. The others are quiet."
        )
    return [vm.name for vm in vms]


def describe_writer(vm_name: str, report: GuestReport) -> str:
    """What a VM writes now, as a sentence."""
    said = []
    if report.write_bytes_s:
        rate, over = show_bytes(report.write_bytes_s), show_bytes(report.over_bytes)
        said.append(f"{rate}/s over {over}")
    if report.disk_write_bytes_s:
        rate, over = show_bytes(report.disk_write_bytes_s), show_bytes(report.disk_over_bytes)
        said.append(f"{rate}/s over {over} of its disk")
    return f"{vm_name} writes {' and '.join(said) or 'nothing'}"
