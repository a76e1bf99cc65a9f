"""A host whose libvirt does not run: told as that, and this machine's is never taken for it."""

import time
from pathlib import Path
from typing import Any

import pytest

from backend.errors import DaemonStopped, HostUnreachable, from_libvirt
from backend.fleet import host as host_module
from backend.fleet import lanes as lanes_module
from backend.fleet.config import HostSettings
from backend.fleet.host import HostWatch
from backend.model import HostState


class Ssh:
    """Connects; nothing listens where its libvirt should."""

    made = 0

    def __init__(self, *_: Any) -> None:
        type(self).made += 1
        self.alive = True

    async def connect(self, _limit_s: float) -> None:
        pass

    async def forward_libvirt(self, _path: str) -> None:
        raise DaemonStopped("kvm-b: nothing answers at libvirt's socket.", "Start libvirt there.")


class NoLane:
    """No connection may be tried."""

    def __init__(self, *_: Any) -> None:
        raise AssertionError("a libvirt connection was opened")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HostWatch:
    Ssh.made = 0
    monkeypatch.setattr(host_module, "SshHost", Ssh)
    monkeypatch.setattr(lanes_module, "Lane", NoLane)
    settings = HostSettings("kvm-b", "qemu+tls://kvm-b/system", ssh="kvm-b")
    return HostWatch(settings, tmp_path, lambda: None, dict, lambda _: None, time.time)


async def test_without_a_forward_no_libvirt_is_opened_however_often(watch: HostWatch) -> None:
    for _ in range(3):
        with pytest.raises(DaemonStopped):
            await watch._connect()
    assert Ssh.made == 1, "the connection itself is kept"


async def test_it_is_told_with_its_remedy(watch: HostWatch) -> None:
    watch._unreachable(DaemonStopped("Nothing answers.", "Start libvirt there."), 1.0)
    told = watch.host
    assert (told.state, told.daemon_stopped) == (HostState.UNREACHABLE, True)
    assert (told.reason, told.remedy) == ("Nothing answers.", "Start libvirt there.")
    watch._unreachable("The connection was lost.", 1.0)
    assert (watch.host.daemon_stopped, watch.host.remedy) == (False, "")


@pytest.mark.parametrize(
    ("said", "stopped"),
    [
        (
            "Failed to connect socket to '/run/libvirt-sock': No such file or directory",
            True,
        ),
        ("Failed to connect socket to '/run/x': Connection refused", True),
        ("Failed to connect socket to '/run/x': Permission denied", False),
        ("End of file while reading data", False),
    ],
)
def test_a_daemon_that_does_not_listen_is_told_from_others(said: str, stopped: bool) -> None:
    error = from_libvirt("kvm-b", "", 38, said, opening=True)
    assert isinstance(error, HostUnreachable)
    assert isinstance(error, DaemonStopped) == stopped
