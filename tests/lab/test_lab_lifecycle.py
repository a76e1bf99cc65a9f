"""The lab itself: up, repaired, shaped, and gone without a trace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import ROOT, Lab, eventually, traces

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

GUESTS = {"idle-1", "web-1", "db-1", "cache-1", "files-1", "shared-1"}
INNOCENT = "vf-innocent"


def members(lab: Lab, host: str, command: str) -> list[int]:
    """The processes of that name in a host's network."""
    listed = subprocess.run(
        ["ip", "netns", "pids", lab.netns(host)], capture_output=True, text=True, check=True
    )
    pids = [int(pid) for pid in listed.stdout.split()]
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == command]


def pid_of(lab: Lab, host: str, run_file: str) -> int:
    return int((lab.fleet.parent / "hosts" / host / "run" / run_file).read_text())


def rate_bits(netns: str, interface: str) -> int:
    shown = subprocess.run(
        ["tc", "-n", netns, "-j", "qdisc", "show", "dev", interface],
        capture_output=True,
        text=True,
        check=True,
    )
    bytes_s: int = json.loads(shown.stdout)[0]["options"]["rate"]
    return bytes_s * 8


def answering(lab: Lab) -> set[str]:
    return {vm["name"] for vm in lab.status()["vms"] if vm["memory_ok"] is True}


def pings(lab: Lab, address: str) -> bool:
    return lab.in_operator("ping", "-c", "1", "-W", "1", address).returncode == 0


def test_status_of_a_lab_that_is_up(lab: Lab) -> None:
    status = lab.status()
    assert status["fleet"] == str(lab.fleet)
    assert status["operator_netns"] == lab.operator_netns
    assert [host["name"] for host in status["hosts"]] == ["kvm-a", "kvm-b", "kvm-c"]
    assert all(host["up"] for host in status["hosts"])
    by_name = {vm["name"]: vm for vm in status["vms"]}
    assert set(by_name) == GUESTS | {"batch-1", "cpu-1"}
    assert {name for name, vm in by_name.items() if vm["state"] == "running"} == GUESTS
    assert {name for name, vm in by_name.items() if vm["memory_ok"]} == GUESTS
    assert by_name["batch-1"]["work_bytes"] is None
    rates = {vm["name"]: vm["write_rate"] for vm in lab.first["vms"]}
    assert [rates[name] for name in ("idle-1", "web-1", "db-1", "cache-1")] == [
        *(0, 5_000_000, 20_000_000, 60_000_000)
    ]
    for name, vm in by_name.items():
        assert name in lab.virsh(vm["host"], "list", "--all", "--name").split()


def test_guests_answer_ping_and_hosts_answer_ssh(lab: Lab) -> None:
    assert pings(lab, lab.vm("idle-1")["address"])
    for host in ("kvm-a", "kvm-b", "kvm-c"):
        said = subprocess.run(
            ["ssh", "-F", str(lab.ssh_config), host, "hostname"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert said.stdout.strip() == host


def test_a_host_whose_key_changed_is_refused(lab: Lab, tmp_path: Path) -> None:
    hosts = (lab.fleet.with_name("known_hosts")).read_text().splitlines()
    swapped = [f"{hosts[0].split()[0]} {' '.join(hosts[1].split()[1:])}", *hosts[1:]]
    known = tmp_path / "known_hosts"
    known.write_text("\n".join(swapped) + "\n")
    options = ["-F", str(lab.ssh_config), "-o", f"UserKnownHostsFile={known}"]
    done = subprocess.run(
        ["ssh", *options, "kvm-a", "true"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 255


def test_cpu_1_lacks_features_here(lab: Lab) -> None:
    done = subprocess.run(
        ["virsh", "-c", lab.uri(lab.vm("cpu-1")["host"]), "start", "cpu-1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "missing features" in done.stderr


def test_up_again_changes_nothing(lab: Lab) -> None:
    before = {vm["name"]: vm["uptime_s"] for vm in lab.status()["vms"]}
    said = lab.up()
    assert "started" not in said
    after = {vm["name"]: vm["uptime_s"] for vm in lab.status()["vms"]}
    assert all(after[name] > before[name] for name in GUESTS)


def test_writer_is_set_while_it_runs(lab: Lab) -> None:
    lab.set_writer("idle-1", "10MB/s", "50MB")
    first = lab.vm("idle-1")
    assert first["write_rate"] == 10_000_000
    eventually(
        lambda: lab.vm("idle-1")["work_bytes"] > first["work_bytes"], "idle-1 counts its work"
    )
    lab.quiet()
    assert {vm["write_rate"] for vm in lab.status()["vms"] if vm["name"] in GUESTS} == {0}


@pytest.mark.long
def test_vm_moves_and_goes_on(lab: Lab) -> None:
    lab.set_writer("web-1", "2MB/s", "20MB")
    before = lab.vm("web-1")
    target = "kvm-b" if before["host"] != "kvm-b" else "kvm-a"
    lab.virsh(
        before["host"], "migrate", "--live", "--p2p", "--tls", "--persistent", "--undefinesource",
        "web-1", f"qemu+tls://{target}/system",
    )  # fmt: skip
    after = lab.vm("web-1")
    assert (after["host"], after["state"]) == (target, "running")
    assert after["memory_ok"] is True
    assert after["uptime_s"] > before["uptime_s"]
    eventually(lambda: lab.vm("web-1")["work_bytes"] > after["work_bytes"], "web-1 writes on")
    lab.set_writer("web-1", "0")
    assert lab.vm("web-1")["write_rate"] == 0


def test_link_is_shaped_cut_and_restored(lab: Lab) -> None:
    address = lab.host("kvm-c")["address"]
    lab.set_link("kvm-c", "200mbit")
    assert rate_bits(lab.netns("kvm-c"), "up0") == 200_000_000
    assert rate_bits(lab.switch_netns, "kvm-c") == 200_000_000
    lab.set_rate("kvm-c", inward="50mbit")
    assert rate_bits(lab.netns("kvm-c"), "up0") == 200_000_000
    assert rate_bits(lab.switch_netns, "kvm-c") == 50_000_000
    lab.set_link("kvm-c", "down")
    assert not pings(lab, address)
    assert lab.host("kvm-c")["link"]["up"] is False
    lab.set_writer("shared-1", "1MB/s", "10MB")
    lab.set_link("kvm-c", "up")
    eventually(lambda: pings(lab, address), "kvm-c is back")
    assert lab.vm("shared-1")["write_rate"] == 1_000_000
    lab.up("--link", "1gbit")
    assert rate_bits(lab.switch_netns, "kvm-c") == 1_000_000_000


def test_up_repairs_what_was_killed(lab: Lab) -> None:
    lab.quiet()
    host = lab.vm("shared-1")["host"]
    doomed = [
        pid_of(lab, "kvm-a", "libvirtd.pid"),
        members(lab, "kvm-b", "sshd")[0],
        pid_of(lab, host, "qemu/shared-1.pid"),
    ]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in doomed), "they died")
    uptime_s = lab.vm("idle-1")["uptime_s"]
    said = lab.up()
    assert "kvm-a: libvirtd up" in said
    assert "kvm-b: sshd up" in said
    assert f"shared-1: started on {host}" in said
    assert answering(lab) == GUESTS
    assert lab.vm("idle-1")["uptime_s"] > uptime_s


def test_up_repairs_lost_namespaces(lab: Lab) -> None:
    subprocess.run(["ip", "netns", "delete", lab.switch_netns], check=True)
    subprocess.run(["ip", "netns", "delete", lab.netns("kvm-c")], check=True)
    lab.up()
    assert all(host["up"] for host in lab.status()["hosts"])
    assert answering(lab) == GUESTS


@pytest.mark.parametrize(
    "words",
    [
        ("link", "kvm-z", "200mbit"),
        ("link", "kvm-a", "200"),
        ("link", "kvm-a"),
        ("vm", "nobody", "--write", "1M"),
        ("vm", "idle-1", "--write", "fast"),
        ("vm", "batch-1", "--write", "1M"),
        ("vm", "idle-1", "--write", "1M", "--over", "100G"),
        ("quiet", "--except", "nobody"),
        ("up", "--hosts", "4"),
        ("up", "--hosts", "99"),
        ("up", "--link", "1MB/s"),
        ("status", "--name", "../x"),
        ("status", "--name", "none-such"),
    ],
)
def test_bad_input_is_a_sentence(lab: Lab, words: tuple[str, ...]) -> None:
    done = lab.run(*words, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("virt-ferry lab: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def innocent() -> Iterator[int]:
    """Someone else's namespace with a process in it; named much like a lab's."""
    subprocess.run(["ip", "netns", "add", INNOCENT], check=True)
    process = subprocess.Popen(["ip", "netns", "exec", INNOCENT, "sleep", "600"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        subprocess.run(["ip", "netns", "delete", INNOCENT], check=False)


def interfaces() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


def test_down_amid_up_leaves_nothing_and_spares_others(innocent: int) -> None:
    own_network = interfaces()
    small = Lab("test2")
    small.down()
    words = [sys.executable, "-m", "backend.lab", "up", "--name", small.name, "--hosts", "2"]
    coming = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert coming.stdout is not None
        for line in coming.stdout:
            if "started on" in line:
                break
        coming.kill()
        coming.wait()
        assert interfaces() == own_network
        assert traces(small.name) != []
    finally:
        coming.kill()
        small.down()
    assert traces(small.name) == []
    assert interfaces() == own_network
    assert Path(f"/proc/{innocent}").exists()
    assert Path("/run/netns", INNOCENT).exists()
    assert small.down() == "lab test2: there was none\n"
