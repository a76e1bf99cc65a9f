"""A step that is cancelled comes to its end first."""

import asyncio

import pytest

from backend.run.steps import to_its_end


async def test_who_cancels_a_step_waits_until_it_is_done() -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), []

    async def work() -> str:
        begun.set()
        await go_on.wait()
        return "made"

    task = asyncio.create_task(to_its_end(work(), lambda: done.append("known")))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["known"]


async def test_a_step_that_is_not_cancelled_returns_and_raises_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_its_end(fail())
    assert await to_its_end(asyncio.sleep(0, "back")) == "back"
