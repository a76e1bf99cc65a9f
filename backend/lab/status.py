"""What the lab is doing now, as JSON and as a table."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backend.lab.domains import RUNNING, SHUT_OFF, Survey, survey
from backend.lab.guest_link import GuestReport, guest_report
from backend.lab.host import ssh_answers
from backend.lab.layout import Lab, LabHost, LabVm
from backend.lab.rates import show_bytes, show_link_rate
from backend.lab.settings import Link, Settings

_SSH_S = 2.0


def status(lab: Lab, settings: Settings) -> dict[str, Any]:
    """The lab as one JSON object; what is not known is null."""
    with ThreadPoolExecutor(32) as pool:
        ssh_later = pool.map(lambda host: ssh_answers(host, _SSH_S), lab.hosts)
        seen = survey(lab)
        asked = [vm for vm in lab.vms if _may_answer(vm, seen)]
        reports = list(pool.map(lambda vm: guest_report(lab, vm), asked))
        ssh = list(ssh_later)
    by_vm = dict(zip((vm.name for vm in asked), reports, strict=True))
    return {
        "name": lab.name,
        "fleet": str(lab.fleet_file),
        "operator_netns": lab.operator_netns,
        "hosts": [
            _host(host, settings.link(host.name), seen, ssh_up)
            for host, ssh_up in zip(lab.hosts, ssh, strict=True)
        ],
        "vms": [_vm(vm, seen, by_vm.get(vm.name)) for vm in lab.vms],
    }


def as_json(found: dict[str, Any]) -> str:
    """One object, for programs."""
    return json.dumps(found, indent=2)


def as_table(found: dict[str, Any]) -> str:
    """Two tables, for people."""
    hosts: list[tuple[str, ...]] = [("HOST", "STATE", "ADDRESS", "LINK IN", "LINK OUT")]
    for host in found["hosts"]:
        link = host["link"]
        rates = [show_link_rate(link[key]) for key in ("in_bits_s", "out_bits_s")]
        hosts.append(
            (
                host["name"],
                "up" if host["up"] else "down",
                host["address"],
                *(rates if link["up"] else ("cut", "cut")),
            )
        )
    vms: list[tuple[str, ...]] = [
        ("VM", "HOST", "STATE", "ADDRESS", "WRITES", "OVER", "WRITTEN", "MEMORY")
    ]
    vms += [_vm_row(vm) for vm in found["vms"]]
    head = [f"lab {found['name']}", f"fleet file {found['fleet']}"]
    head.append(f"operator namespace {found['operator_netns']}")
    return "\n".join([*head, "", *_columns(hosts), "", *_columns(vms)])


def _may_answer(vm: LabVm, seen: Survey) -> bool:
    """A VM on a host that does not answer is asked too: it may well run."""
    place = seen.place(vm.name)
    return place.state != SHUT_OFF if place else len(seen.up) < seen.host_count


def _host(host: LabHost, link: Link, seen: Survey, ssh_up: bool) -> dict[str, Any]:
    return {
        "name": host.name,
        "libvirt_uri": host.libvirt_uri,
        "address": host.address,
        "netns": host.netns,
        "up": host.name in seen.up and ssh_up,
        "libvirtd_up": host.name in seen.up,
        "sshd_up": ssh_up,
        "link": {"up": link.up, "in_bits_s": link.in_bits_s, "out_bits_s": link.out_bits_s},
    }


def _vm(vm: LabVm, seen: Survey, report: GuestReport | None) -> dict[str, Any]:
    place = seen.place(vm.name)
    return {
        "name": vm.name,
        "host": place.host.name if place else None,
        "address": vm.address,
        "state": place.state if place else None,
        "should_run": vm.running,
        "write_rate": report.write_bytes_s if report else None,
        "over_bytes": report.over_bytes if report else None,
        "work_bytes": report.work_bytes if report else None,
        "memory_ok": report.memory_ok if report else None,
        "disk_write_rate": report.disk_write_bytes_s if report else None,
        "disk_blocks": report.disk_blocks if report else None,
        "disk_errors": report.disk_errors if report else None,
        "disk_ok": report.disk_ok if report else None,
        "uptime_s": report.uptime_s if report else None,
    }


def _vm_row(vm: dict[str, Any]) -> tuple[str, ...]:
    memory = {True: "good", False: "DAMAGED", None: "–"}[vm["memory_ok"]]
    if vm["state"] == RUNNING and vm["memory_ok"] is None:
        memory = "no answer"
    return (
        vm["name"],
        vm["host"] or "–",
        vm["state"] or "unknown",
        vm["address"],
        _bytes(vm["write_rate"], "/s"),
        _bytes(vm["over_bytes"]),
        _bytes(vm["work_bytes"]),
        memory,
    )


def _bytes(value: int | None, suffix: str = "") -> str:
    return "–" if value is None else f"{show_bytes(value)}{suffix}"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
