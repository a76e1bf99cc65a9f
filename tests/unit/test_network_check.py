"""What is said of the network after a move."""

from typing import Any, cast

import pytest

from backend.hypervisor.vm_network import Tap
from backend.model import Vm, VmState
from backend.remote.shell import LocalShell
from backend.run.addresses import FoundAddress
from backend.run.network_check import (
    TapFacts,
    answer_words,
    check_network,
    parse_tap,
    probe_taps,
    tap_words,
)

MAC = "52:54:00:77:00:67"
TAP = Tap(MAC, "vnet3", "br0")
VM = Vm("u", "db-1", "kvm-a", VmState.RUNNING)


class FakeProbe:
    def __init__(self, value: str | None, before: bool, after_s: float | None) -> None:
        self.address = FoundAddress(value, "its metadata")
        self.answered_before = before
        self.answered_after_s = after_s
        self.broke = ""

    async def finish(self) -> None:
        return


def probe(value: str | None = "10.0.0.1", before: bool = True, after_s: float | None = 0.04) -> Any:
    return FakeProbe(value, before, after_s)


def test_an_answer_is_told_with_its_time() -> None:
    assert answer_words(probe(), VM) == "10.0.0.1 answered 0.04 s after the move"


def test_silence_is_an_alarm_only_if_it_answered_before() -> None:
    said = answer_words(probe(after_s=None), VM)
    assert said.startswith("10.0.0.1 has not answered within 5 s: check ")
    said = answer_words(probe(before=False, after_s=None), VM)
    assert said == "10.0.0.1 did not answer before the move either"
    assert "not known" in answer_words(probe(value=None), VM)


def test_a_probe_that_broke_off_is_not_a_vm_that_is_silent() -> None:
    broken = probe(after_s=None)
    broken.broke = "The SSH connection was lost."
    assert "not known: the probe of it broke off" in answer_words(broken, VM)


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("vnet3 up br0 vnet3", TapFacts("vnet3", "up", "br0", "vnet3")),
        ("vnet3 up br0 nowhere", TapFacts("vnet3", "up", "br0", "nowhere")),
        ("vnet3 gone - -", TapFacts("vnet3", "gone", None, None)),
        ("vnet3 up $(x) -", None),
        ("vnet3 sideways br0 -", None),
        ("", None),
    ],
)
def test_lines_of_taps(line: str, facts: TapFacts | None) -> None:
    assert parse_tap(line) == facts


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (TapFacts("vnet3", "up", "br0", "vnet3"), "its MAC is on br0 of kvm-b"),
        (TapFacts("vnet3", "up", "br0", None), "its interface is in br0 of kvm-b"),
        (TapFacts("vnet3", "up", "br0", "nowhere"), "has not seen its MAC yet"),
        (TapFacts("vnet3", "up", "br0", "eth0"), "still sends its MAC to eth0, not to vnet3"),
        (TapFacts("vnet3", "up", "br1", "vnet3"), "is in br1 of kvm-b, not in br0"),
        (TapFacts("vnet3", "up", None, None), "is in no bridge of kvm-b: add it to br0"),
        (TapFacts("vnet3", "down", "br0", None), "is down: check it"),
        (None, "vnet3 in br0, not looked at there"),
    ],
)
def test_words_for_taps(facts: TapFacts | None, words: str) -> None:
    assert words in tap_words(TAP, facts, "kvm-b")


async def test_a_tap_that_is_not_there_is_gone() -> None:
    assert await probe_taps(LocalShell(), [Tap(MAC, "vf-none0", "br0")]) == (
        TapFacts("vf-none0", "gone", None, None),
    )


class FakeTarget:
    name = "kvm-b"
    shell = LocalShell()

    def __init__(self, *taps: Tap) -> None:
        self.taps = taps

    async def call(self, function: object, limit_s: float, what: str) -> tuple[Tap, ...]:
        return self.taps


async def test_both_looks_make_one_sentence() -> None:
    target = cast(Any, FakeTarget())
    said = await check_network(target, VM, probe())
    assert said == "10.0.0.1 answered 0.04 s after the move; it has no tap on kvm-b to check"


@pytest.mark.parametrize("device", ["../../x", "-f", "a b", "$(reboot)", "x" * 16])
async def test_a_device_that_can_be_none_is_not_looked_at(device: str) -> None:
    said = await check_network(cast(Any, FakeTarget(Tap(MAC, device, "br0"))), VM, probe())
    assert "no tap" in said
