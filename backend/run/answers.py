"""Asking hosts for facts: one that cannot be had leaves its reason, and the rest goes on."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from backend.errors import FerryError

T = TypeVar("T")


async def answered(
    unknown: dict[str, str], fact: str, answer: Awaitable[T], limit_s: float
) -> T | None:
    """The answer; None when there is none in `limit_s`, with the reason at `fact` in `unknown`."""
    try:
        async with asyncio.timeout(limit_s):
            return await answer
    except TimeoutError:
        unknown[fact] = f"no answer within {limit_s:g} s"
    except FerryError as error:
        unknown[fact] = error.sentence
    return None
