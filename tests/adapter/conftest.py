"""What the adapter's tests share."""

from collections.abc import AsyncIterator

import pytest

from backend.hypervisor.connection import Lane


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane("kvm-a", "control", "test:///default")
    await lane.open()
    yield lane
    await lane.close()
