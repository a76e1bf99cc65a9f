"""The pictures in screenshots/ are what the console shows: drawn again and compared."""

import pytest

from screenshots.draw import HERE, PICTURES, Picture, draw


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
async def test_a_committed_picture_is_not_stale(picture: Picture) -> None:
    committed = HERE / f"{picture.name}.svg"
    assert committed.exists(), f"{committed.name} is missing: run screenshots/draw.py"
    # Not `==` in the assertion: a diff of two drawings helps nobody.
    same = committed.read_text() == await draw(picture)
    assert same, f"{committed.name} is stale: run screenshots/draw.py and look at it"
    assert committed.with_suffix(".png").exists()
