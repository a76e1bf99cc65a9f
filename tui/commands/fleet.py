"""`hosts` and `vms`: the tables."""

import argparse
import sys

from backend.model import FleetSnapshot, Host, HostState, Vm
from backend.service.protocol import FleetChoice, FleetReply, GetFleet
from tui.commands.session import SETTLE_S, clean, connected, plain, print_json, print_table
from tui.render import units


async def hosts(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Every host of the fleet. 3 when one of them is not reachable."""
    fleet = await _fleet(choice)
    if options.json:
        print_json([host_json(host, fleet) for host in fleet.hosts])
    else:
        print_table(
            ("HOST", "STATE", "CPU", "MEMORY", "LINK OUT/IN", "VMS", "REASON"),
            [_host_row(host, fleet) for host in fleet.hosts],
        )
    return 0 if all(host.state is HostState.UP for host in fleet.hosts) else 3


async def vms(options: argparse.Namespace, choice: FleetChoice) -> int:
    """Every VM of the fleet. 3 when a host is not reachable (its VMs may be missing), or when a
    VM runs on two hosts: that is said on stderr."""
    fleet = await _fleet(choice)
    if options.json:
        print_json([plain(vm) for vm in fleet.vms])
    else:
        print_table(
            ("VM", "HOST", "STATE", "VCPU", "CPU", "MEMORY", "WRITES", "DISKS", "NETWORK"),
            [_vm_row(vm) for vm in fleet.vms],
        )
    for vm in fleet.vms:
        if vm.trouble:
            print(f"virt-ferry: {clean(f'{vm.name}: {vm.trouble}')}", file=sys.stderr)
    for alarm in fleet.alarms:
        print(f"virt-ferry: {clean(alarm.sentence)} {clean(alarm.remedy)}", file=sys.stderr)
    well = not fleet.alarms and all(host.state is HostState.UP for host in fleet.hosts)
    return 0 if well else 3


def host_json(host: Host, fleet: FleetSnapshot) -> dict[str, object]:
    """A host with the number of its VMs."""
    count = sum(1 for vm in fleet.vms if vm.host == host.name)
    return {**plain(host), "vms": count}


async def _fleet(choice: FleetChoice) -> FleetSnapshot:
    async with connected(choice) as client:
        reply = await client.call(GetFleet(settle_s=SETTLE_S))
    assert isinstance(reply, FleetReply)
    return reply.fleet


def _host_row(host: Host, fleet: FleetSnapshot) -> tuple[object, ...]:
    link = f"{units.rate(host.link_out_bytes_s)} / {units.rate(host.link_in_bytes_s)}"
    return (
        host.name,
        host.state.value,
        units.percent(host.cpu_percent),
        units.share(host.memory_used_bytes, host.memory_bytes),
        link,
        sum(1 for vm in fleet.vms if vm.host == host.name),
        host.reason,
    )


def _vm_row(vm: Vm) -> tuple[object, ...]:
    disks = ", ".join(disk.source or "empty" for disk in vm.disks)
    job = f" ({vm.job.kind})" if vm.job else ""
    return (
        vm.name,
        vm.host,
        vm.state.value + job,
        vm.vcpus,
        units.percent(vm.cpu_percent),
        units.size(vm.memory_bytes),
        units.brief_rate(vm.writes_bytes_s),
        disks or "–",
        ", ".join(nic.source for nic in vm.nics) or "–",
    )
