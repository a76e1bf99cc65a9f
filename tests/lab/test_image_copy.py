"""Images of every shape copied between two hosts of the lab: each byte, each hole, and the room
that is reserved and holds nothing yet."""

import os
from collections.abc import AsyncIterator

import pytest

from backend.remote.images import check_image, image_facts
from tests.lab.conftest import Lab
from tests.lab.copy_pair import Pair, paired
from tests.lab.image_lab import (
    SHAPES,
    Shape,
    allocated,
    copying,
    same_bytes,
    same_snapshot,
    same_to_a_guest,
)

pytestmark = [pytest.mark.lab, pytest.mark.long]


@pytest.fixture
async def pair(lab: Lab) -> AsyncIterator[Pair]:
    async with paired(lab) as both:
        yield both


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_every_shape_arrives_as_it_was(pair: Pair, shape: Shape) -> None:
    source, target = (images.file(shape.name) for images in (pair.at_source, pair.at_target))
    shape.make(source)
    os.sync()
    copy = pair.copy(shape.name)
    await copy.run()
    assert copy.not_reserved == ""
    assert same_bytes(source, target)
    assert abs(allocated(target) - allocated(source)) <= 0.05 * allocated(source) + 8192
    for base in pair.at_source.folder.glob("base.*"):
        pair.at_target.file(base.name).write_bytes(base.read_bytes())
    check = await check_image(pair.target, pair.at_target.path(shape.name), shape.format)
    assert check.clean
    assert check.has_checks == (shape.format == "qcow2")
    assert same_to_a_guest(source, target, shape.format)
    assert all(same_snapshot(source, target, name) for name in shape.snapshots)
    facts = [
        await image_facts(host, images.path(shape.name), shape.format)
        for host, images in ((pair.source, pair.at_source), (pair.target, pair.at_target))
    ]
    assert tuple(shot.name for shot in facts[1].snapshots) == shape.snapshots
    assert facts[0].virtual_bytes == facts[1].virtual_bytes
    assert (shape.name == "backing") == bool(facts[1].backing)
    assert copying(pair.lab) == []
