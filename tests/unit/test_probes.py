"""What probes print -> findings; never "shared" without a proof, never a file left behind."""

import asyncio
import os
from pathlib import Path

import pytest

from backend.errors import CallTimedOut
from backend.remote.probes import (
    FileFacts,
    Mount,
    ReachFault,
    judge_token,
    mounts_prove_shared,
    parse_file,
    parse_mount,
    parse_reach,
    probe_bridge,
    probe_files,
    probe_shared,
)
from backend.remote.shell import CommandResult, LocalShell

FAILED = "error: failed to connect to the hypervisor\nerror: "
MISMATCH = (
    "2026-11-23 23:10:09.387+0000: 19885: info : libvirt version: 9.0.0, package: 9.0.0-4\n"
    "2026-11-23 23:10:09.387+0000: 19885: info : hostname: kvm-a\n"
    "2026-11-23 23:10:09.387+0000: 19885: warning : virNetTLSContextCheckCertificate:1086 : "
    "Certificate check failed Certificate [session] owner does not match the hostname localhost\n"
    + FAILED
    + "authentication failed: Failed to verify peer's certificate\n"
)
MOUNTS = """\
82 81 254:0 / / rw,relatime - ext4 /dev/vda rw
105 82 0:48 / /run rw - tmpfs tmpfs rw
137 106 254:0 /lab/shared /srv/shared rw shared:3 master:1 - ext4 /dev/vda rw
140 82 0:50 / /mnt/with\\040space rw - nfs4 filer:/vms rw
"""


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (
            "Unable to resolve address 'nosuch' service '16514': Temporary failure in name "
            "resolution",
            ReachFault.NAME,
        ),
        ("unable to connect to server at 'kvm-b:1': Connection refused", ReachFault.PORT_CLOSED),
        ("unable to connect to server at 'kvm-b:1': No route to host", ReachFault.TIMED_OUT),
        ("unable to connect to server at 'kvm-b:1': Connection timed out", ReachFault.TIMED_OUT),
        ("The server certificate is not trusted", ReachFault.NOT_TRUSTED),
        ("Certificate failed validation: The certificate hasn't got a known issuer.",
         ReachFault.NOT_TRUSTED),
        ("Cannot read CA certificate '/etc/pki/CA/cacert.pem': No such file or directory",
         ReachFault.NO_CREDENTIALS),
        ("authentication failed: access denied", ReachFault.NO_CREDENTIALS),
        ("Cannot read '/etc/pki/libvirt/private/clientkey.pem': Permission denied",
         ReachFault.UNTRIED),
        ("something new", ReachFault.OTHER),
    ],
)  # fmt: skip
def test_why_a_target_cannot_be_reached(said: str, fault: ReachFault) -> None:
    reach = parse_reach(CommandResult(1, "", FAILED + said + "\n"))
    assert (reach.ok, reach.fault, reach.detail) == (False, fault, said)


def test_a_name_that_is_not_the_certificates() -> None:
    reach = parse_reach(CommandResult(1, "", MISMATCH))
    assert reach.fault is ReachFault.NAME_MISMATCH
    assert reach.detail.startswith("Certificate check failed Certificate [session] owner")
    assert "libvirt version" not in reach.detail


def test_a_target_that_answers_and_a_source_that_cannot_try() -> None:
    assert parse_reach(CommandResult(0, "kvm-b\n\n", "")).hostname == "kvm-b"
    assert parse_reach(CommandResult(127, "", "")).fault is ReachFault.UNTRIED
    assert parse_reach(CommandResult(124, "", "")).fault is ReachFault.TIMED_OUT


def test_the_mount_that_holds_a_path() -> None:
    assert parse_mount(MOUNTS, "/srv/shared/vms/a.img") == Mount(
        "ext4", "/dev/vda", "/lab/shared/vms/a.img"
    )
    assert parse_mount(MOUNTS, "/srv/sharedx") == Mount("ext4", "/dev/vda", "/srv/sharedx")
    assert parse_mount(MOUNTS, "/mnt/with space/x") == Mount("nfs4", "filer:/vms", "/x")
    assert parse_mount("", "/x") is None
    assert parse_mount("garbage\n1 2 3 - \n", "/x") is None


def test_only_the_same_export_of_the_same_server_is_a_proof() -> None:
    nfs = Mount("nfs4", "filer:/vms", "/a")
    assert mounts_prove_shared(nfs, nfs) is not None
    assert mounts_prove_shared(nfs, Mount("nfs", "filer:/vms", "/a")) is not None
    for other in (
        Mount("nfs4", "filer:/vms", "/b"),
        Mount("nfs4", "other:/vms", "/a"),
        Mount("ext4", "filer:/vms", "/a"),
        None,
    ):
        assert mounts_prove_shared(nfs, other) is None
    for local in ("localhost:/vms", "127.0.0.1:/vms", "[::1]:/vms", "//localhost/vms"):
        mount = Mount("nfs4", local, "/a")
        assert mounts_prove_shared(mount, mount) is None
    disk = Mount("ext4", "/dev/vda", "/a")
    assert mounts_prove_shared(disk, disk) is None


def test_a_token_must_come_back_whole() -> None:
    token = "0" * 32
    assert judge_token(CommandResult(0, token + "\n", ""), token, "/d").shared is True
    assert judge_token(CommandResult(0, "other", ""), token, "/d").shared is False
    assert judge_token(CommandResult(0, "", ""), "", "/d").shared is False
    assert judge_token(CommandResult(5, "", ""), token, "/d").shared is False
    assert judge_token(CommandResult(3, "", ""), token, "/d").shared is False
    assert judge_token(CommandResult(1, token, "odd"), token, "/d").shared is None


def inside(directory: Path) -> list[Path]:
    return list(directory.iterdir())


class FarShell(LocalShell):
    """Another host: whose scripts see another directory, or never end."""

    def __init__(self, directory: Path | None = None, hang: bool = False) -> None:
        self.directory = directory
        self.hang = hang

    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        if self.hang and "mountinfo" not in (input or ""):
            await asyncio.sleep(0.05)
            raise CallTimedOut("far did not answer")
        if self.directory is not None:
            command = f"cd {self.directory} && {command}"
            input = (input or "").replace('cd "$1"', ":")
        return await super().run(command, timeout_s, input)


async def test_the_same_directory_is_shared_and_left_clean(tmp_path: Path) -> None:
    proof = await probe_shared(LocalShell(), LocalShell(), str(tmp_path / "a b'c.img"))
    assert proof.shared is True
    assert inside(tmp_path) == []


async def test_another_directory_of_the_same_name_is_not(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for directory in (mine, theirs):
        os.mkdir(directory)
    proof = await probe_shared(LocalShell(), FarShell(theirs), str(mine / "a.img"))
    assert proof.shared is False
    assert inside(mine) == inside(theirs) == []


async def test_nothing_is_left_when_the_target_does_not_answer(tmp_path: Path) -> None:
    proof = await probe_shared(LocalShell(), FarShell(hang=True), str(tmp_path / "a.img"))
    assert (proof.shared, proof.how) == (None, "far did not answer")
    assert inside(tmp_path) == []


async def test_nothing_is_left_when_the_plan_is_cancelled(tmp_path: Path) -> None:
    class Slow(FarShell):
        async def run(
            self, command: str, timeout_s: float = 10.0, input: str | None = None
        ) -> CommandResult:
            if "head -c" in (input or ""):
                await asyncio.sleep(30)
            return await super().run(command, timeout_s, input)

    probe = asyncio.create_task(probe_shared(LocalShell(), Slow(), str(tmp_path / "a.img")))
    for _ in range(200):
        if inside(tmp_path):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert inside(tmp_path) == []


async def test_devices_are_never_written_to() -> None:
    assert (await probe_shared(LocalShell(), LocalShell(), "/dev/sda")).shared is None
    assert (await probe_shared(LocalShell(), LocalShell(), "relative")).shared is None
    near = await probe_shared(LocalShell(), LocalShell(), "/devel/none/a.img")
    assert near.how.startswith("nothing could be written")


async def test_files_and_bridges_here(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"12345")
    found = await probe_files(LocalShell(), (str(tmp_path / "a b"), str(tmp_path / "none")))
    assert found == (FileFacts(True, 5, True), FileFacts(False))
    assert await probe_files(LocalShell(), ()) == ()
    assert await probe_bridge(LocalShell(), "no'such") is False


def test_a_line_about_a_file() -> None:
    assert parse_file("12 1") == FileFacts(True, 12, True)
    assert parse_file("-1 0") == FileFacts(True, None, False)
    assert parse_file("none 0") == FileFacts(False)
    assert parse_file("rubbish") == FileFacts(False)


async def test_a_local_command_that_hangs_is_ended() -> None:
    with pytest.raises(CallTimedOut):
        await LocalShell().run("sleep 30", 0.2)
