"""The ways from host to host: what crosses the wire, what arrives, which one is taken."""

from collections.abc import AsyncIterator

import pytest

from backend.errors import CopyFailed
from backend.model import CopyRoute
from backend.remote.copy_means import copy_means
from backend.remote.digest import same_guest_content
from backend.remote.images import check_image, image_facts
from tests.lab.capture import PATTERN, capture
from tests.lab.conftest import Lab
from tests.lab.copy_pair import Pair, paired
from tests.lab.image_lab import (
    MIB,
    allocated,
    copying,
    qcow2,
    run,
    same_to_a_guest,
    scatter,
    with_backing,
)

pytestmark = pytest.mark.lab


@pytest.fixture
async def pair(lab: Lab) -> AsyncIterator[Pair]:
    async with paired(lab) as both:
        yield both


@pytest.mark.parametrize("route", [CopyRoute.RELAY, CopyRoute.LOCAL])
async def test_the_other_routes_carry_the_same(pair: Pair, route: CopyRoute) -> None:
    scatter(pair.at_source.file("odd"), 20 * MIB + 77, 2000)
    await pair.copy("odd", route=route, to="there").run()
    images = pair.at_source if route is CopyRoute.LOCAL else pair.at_target
    source, target = pair.at_source.file("odd"), images.file("there")
    assert source.read_bytes() == target.read_bytes()
    assert abs(allocated(target) - allocated(source)) <= 0.05 * allocated(source)
    if route is CopyRoute.RELAY:
        await pair.same("odd", "there")
    dones = [done for done, _ in pair.told]
    assert dones == sorted(dones)
    assert pair.told[-1][0] == pair.told[-1][1] > 0
    assert copying(pair.lab) == []


async def test_one_byte_that_differs_is_seen(pair: Pair) -> None:
    scatter(pair.at_source.file("one"), 20 * MIB + 77, 2000)
    content = pair.at_source.file("one").read_bytes()
    pair.at_target.file("one").write_bytes(content)
    await pair.same("one", "one")
    for at in (0, 5 * MIB, len(content) - 1):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        pair.at_target.file("one").write_bytes(changed)
        with pytest.raises(CopyFailed, match="digests differ"):
            await pair.same("one", "one")


async def test_a_chain_is_flattened_into_one_image(pair: Pair) -> None:
    with_backing(pair.at_source.file("chain"))
    qcow2(pair.at_target.file("flat"), fill=False)
    await pair.copy("chain", to="flat", flatten=True, source_format="qcow2").run()
    facts = await image_facts(pair.target, pair.at_target.path("flat"), "qcow2")
    assert facts.backing == ()
    assert (await check_image(pair.target, facts.path, "qcow2")).clean
    assert same_to_a_guest(pair.at_source.file("chain"), pair.at_target.file("flat"), "qcow2")
    ends = ((pair.at_source.path("chain"), "qcow2"), (pair.at_target.path("flat"), "qcow2"))
    await same_guest_content(pair.source, ends[0], pair.target, ends[1])
    run("qemu-io", "-f", "qcow2", "-c", "write -P 5 60M 512", pair.at_target.file("flat"))
    with pytest.raises(CopyFailed, match="digests differ"):
        await same_guest_content(pair.source, ends[0], pair.target, ends[1])


async def test_a_capture_on_the_switch_shows_no_plaintext(pair: Pair) -> None:
    pair.at_source.file("pattern").write_bytes(PATTERN * (8 * MIB // len(PATTERN)))
    async with capture(pair.lab) as encrypted:
        await pair.copy("pattern").run()
    assert encrypted.seen_bytes > 8 * MIB
    assert encrypted.hits == 0
    async with capture(pair.lab) as plain:
        await pair.copy("pattern", encrypted=False).run()
    assert plain.hits > 100


async def test_the_plan_tries_the_way(pair: Pair) -> None:
    assert (await copy_means(pair.source, pair.target, "kvm-b")).route is CopyRoute.DIRECT
    for address in ("10.77.0.1", "no-such-host"):
        found = await copy_means(pair.source, pair.target, address)
        assert found.route is CopyRoute.RELAY
        assert "kvm-a cannot reach kvm-b" in found.why
    assert (await copy_means(pair.source, pair.source, "")).route is CopyRoute.LOCAL
    assert copying(pair.lab) == []
