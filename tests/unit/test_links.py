"""What is known of the ways between hosts, and for how long."""

from typing import cast

import pytest

from backend.errors import HostUnreachable
from backend.remote.link_probe import LinkProbe
from backend.remote.shell import Shell
from backend.run import links
from backend.run.links import FAILED_KEPT_S, LEARNED_KEPT_S, PROBE_KEPT_S, Links

ENDS = cast("tuple[Shell, Shell]", (None, None))


async def probed(made: Links) -> float | None:
    """The rate, as a plan would get it."""
    return (await made.probe("kvm-a", "kvm-b", ENDS, "qemu+tls://kvm-b/system")).probe.rate_bytes_s


async def test_a_failed_probe_is_tried_again_soon_and_a_good_one_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, asked = [1000.0], [0]
    answers: list[LinkProbe | HostUnreachable] = [
        HostUnreachable("kvm-b does not answer."),
        LinkProbe(None, "no port"),
        LinkProbe(5e6),
    ]

    async def probe(*_: object) -> LinkProbe:
        answer = answers[asked[0]]
        asked[0] += 1
        if isinstance(answer, HostUnreachable):
            raise answer
        return answer

    monkeypatch.setattr(links, "probe_link", probe)
    made = Links(lambda: clock[0])
    with pytest.raises(HostUnreachable):
        await probed(made)
    assert await probed(made) is None
    assert asked == [1], "plans that are made together do not try it one after the other"
    clock[0] += FAILED_KEPT_S + 1
    assert await probed(made) is None
    clock[0] += FAILED_KEPT_S + 1
    assert await probed(made) == 5e6
    clock[0] += PROBE_KEPT_S - 1
    assert await probed(made) == 5e6
    assert asked == [3]


async def test_a_link_that_is_in_use_carries_what_it_did_when_it_was_probed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]

    async def probe(*_: object) -> LinkProbe:
        return LinkProbe(5e6)

    monkeypatch.setattr(links, "probe_link", probe)
    made = Links(lambda: clock[0])
    await probed(made)
    clock[0] += 10 * PROBE_KEPT_S
    assert made.probed("kvm-a", "kvm-b") is None, "it is probed again where nothing uses it"
    rate = made.rate("kvm-a", "kvm-b")
    assert rate is not None
    assert (rate.rate_bytes_s, rate.origin, rate.age_s) == (5e6, "probed", 10 * PROBE_KEPT_S)
    clock[0] += LEARNED_KEPT_S
    assert made.rate("kvm-a", "kvm-b") is None
