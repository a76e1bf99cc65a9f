"""The probe over loopback, its answers, and what it does not fall for."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from backend.remote import link_probe
from backend.remote.link_probe import ALONE, AMONG_OTHERS, LinkProbe, parse_probe, probe_link
from backend.remote.shell import CommandResult, LocalShell

HERE = "qemu+tls://127.0.0.1/system"
SHORT = replace(ALONE, at_most_bytes=4_000_000)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_probe, "_LIFE_S", 4)


@pytest.mark.parametrize(
    ("status", "said", "error", "expected"),
    [
        (0, "23936173 24448200 1.002\n", "", LinkProbe(23936173.0, "", 24448200, 1.002)),
        (0, "0 0 0.000\n", "", LinkProbe(None, "too little came through to count")),
        (0, "1e9 5 1.0\n", "", LinkProbe(None, "kvm-a gave no figure")),
        (127, "", "sh: python3: not found", LinkProbe(None, "there is no python3 on kvm-a")),
        (1, "", "Trace\n[Errno 111] refused\n", LinkProbe(None, "kvm-a: [Errno 111] refused")),
    ],
)
def test_what_the_sender_says(status: int, said: str, error: str, expected: LinkProbe) -> None:
    assert parse_probe(CommandResult(status, said, error), "kvm-a") == expected


async def test_a_probe_counts_what_came_through() -> None:
    found = await probe_link(LocalShell(), LocalShell(), HERE, SHORT)
    assert found.rate_bytes_s is not None, found.why
    assert found.rate_bytes_s > 1_000_000
    assert 4_000_000 <= found.sent_bytes < 4_000_000 + (1 << 20)


async def test_strangers_are_turned_away() -> None:
    shell, token = LocalShell(), "a" * 32
    limits = {"lasts_s": 1.0, "at_most": 1_000_000, "part": (0.3, 1.0), "life_s": 4}
    door = await link_probe._python(
        shell, link_probe._RECEIVER, ports=link_probe.PORTS, token=token, **limits
    )
    port = int(door.stdout)
    assert port in link_probe.PORTS
    for said in (b"b" * 32, b""):
        with socket.create_connection(("127.0.0.1", port), timeout=3) as stranger:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(10) == b""
    sent = await link_probe._python(
        shell, link_probe._SENDER, host="127.0.0.1", port=port, token=token, life_s=4
    )
    assert parse_probe(sent, "here").sent_bytes >= 1_000_000


async def test_among_others_only_its_middle_counts() -> None:
    """What it gets while it is the only one yet, or again, says nothing of a wire they share."""
    begins, ends = AMONG_OTHERS.part
    lasts_s, token = 2.0, "a" * 32
    limits = {"lasts_s": lasts_s, "at_most": 10**9, "part": AMONG_OTHERS.part, "life_s": 4}
    door = await link_probe._python(
        LocalShell(), link_probe._RECEIVER, ports=link_probe.PORTS, token=token, **limits
    )
    reading, writing = await asyncio.open_connection("127.0.0.1", int(door.stdout))
    writing.write(token.encode() + b"x" * 2_000_000)
    await asyncio.sleep((begins - 0.2) * lasts_s)
    for _ in range(10):
        writing.write(b"x" * 1000)
        await asyncio.sleep((ends - begins + 0.3) * lasts_s / 10)
    answer = asyncio.create_task(reading.readline())
    while not answer.done():
        writing.write(b"x" * 100_000)
        await asyncio.sleep(0.02)
    said = answer.result()
    writing.close()
    rate_bytes_s, counted = (int(word) for word in said.split()[:2])
    assert counted > 2_000_000
    assert 0 < rate_bytes_s < 50_000


class WithoutPython(LocalShell):
    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        return await super().run(f"PATH=/nowhere; {command}", timeout_s, input)


async def test_hosts_without_python_say_so() -> None:
    there = await probe_link(LocalShell(), WithoutPython(), HERE)
    assert there.why == "there is no python3 on this machine"


async def test_the_receiver_ends_when_nobody_comes() -> None:
    limits = {"lasts_s": 1.0, "at_most": 1_000_000, "part": (0.3, 1.0), "life_s": 1}
    shell = LocalShell()
    door = await link_probe._python(
        shell, link_probe._RECEIVER, ports=link_probe.PORTS, token="a" * 32, **limits
    )
    with socket.create_connection(("127.0.0.1", int(door.stdout)), timeout=3) as late:
        late.settimeout(5)
        assert late.recv(10) == b""  # closed by its end, not by a reply


@pytest.mark.parametrize(
    "uri",
    ["qemu+tls:///system", "qemu+tls://-oProxy/system", "nonsense", "qemu://[::1/system"],
)
async def test_uris_without_a_host(uri: str, tmp_path: Path) -> None:
    assert (await probe_link(LocalShell(), LocalShell(), uri)).rate_bytes_s is None
