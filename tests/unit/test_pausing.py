"""Ctrl-C while a run is followed."""

import asyncio
import os
import signal

import pytest

from backend.service.client import FerryError
from tui.commands.pausing import until_left

SAID = "Pausing."


class Followed:
    """Goes on until it is told that it has ended."""

    def __init__(self, *, quiet: bool = False, refuses: bool = False) -> None:
        self.ended = asyncio.Event()
        self.paused = asyncio.Event()
        self.is_quiet, self.refuses = quiet, refuses
        self.cancelled = False

    async def follow(self) -> int:
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return 1

    async def pause(self) -> None:
        self.paused.set()
        if self.refuses:
            raise FerryError("It has ended.")

    def left(self) -> asyncio.Task[int]:
        """The work; its handler is set before this returns to the loop a second time."""
        return asyncio.create_task(
            until_left(self.follow(), self.pause, lambda: self.is_quiet, SAID)
        )


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


async def paused_by_ctrl_c(followed: Followed) -> asyncio.Task[int]:
    task = followed.left()
    await asyncio.sleep(0)
    interrupt()
    async with asyncio.timeout(5):
        await followed.paused.wait()
    return task


async def test_it_ends_with_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    followed = Followed()
    task = followed.left()
    followed.ended.set()
    assert await task == 1
    assert capsys.readouterr().err == ""


async def test_the_first_pauses_and_waits_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    followed = Followed()
    task = await paused_by_ctrl_c(followed)
    assert not task.done()
    followed.ended.set()
    assert await task == 1
    assert SAID in capsys.readouterr().err


async def test_the_second_leaves_it() -> None:
    followed = Followed()
    task = await paused_by_ctrl_c(followed)
    interrupt()
    async with asyncio.timeout(5):
        assert await task == 3
    assert followed.cancelled


async def test_what_is_quiet_is_left_by_the_first() -> None:
    task = await paused_by_ctrl_c(Followed(quiet=True))
    async with asyncio.timeout(5):
        assert await task == 3


async def test_a_pause_that_is_refused_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    followed = Followed(refuses=True)
    task = await paused_by_ctrl_c(followed)
    followed.ended.set()
    assert await task == 1
    assert "It has ended." in capsys.readouterr().err
