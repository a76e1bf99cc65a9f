"""Ask both ends what they hold, until they agree on who owns the VM."""

import asyncio
import contextlib
import logging
import time

from backend.errors import FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import domains
from backend.model import Outcome
from backend.run.verdict import Before, End, Judgement, Standing, judge, standing

log = logging.getLogger(__name__)

SETTLE_S = 20.0
"""How long hosts that answer may take to finish tidying up after a migration."""
SILENT_S = 45.0
"""How long an end may stay silent before the verdict is `unknown` (and is asked again later)."""
RECHECK_S = 5.0
ANSWER_S = 12.0
"""How long a new engine waits for a host before it counts as silent."""


async def reached(*hosts: HostWatch) -> None:
    """Wait until each has been reached, or could not be; an engine that has just begun knows no
    host yet."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            await asyncio.gather(*(host.reached.wait() for host in hosts))


async def ask(host: HostWatch, uuid: str) -> End | None:
    """What `host` says of the VM; None when it did not answer."""
    try:
        seen = await host.call(
            lambda conn: domains.presence(conn, uuid), 5.0, "say what it holds of the VM"
        )
    except FerryError as error:
        log.info("asking %s for %s: %s", host.name, uuid, error.sentence)
        return None
    return End(
        host.name,
        defined=seen.persistent,
        active=seen.active,
        state=seen.state,
        state_reason=seen.state_reason,
        job=seen.job_kind,
        autostart=seen.autostart,
    )


async def ask_both(
    before: Before, uuid: str, source: HostWatch, target: HostWatch
) -> tuple[Judgement, End | None, End | None]:
    """One question to both ends at once, judged."""
    at_source, at_target = await asyncio.gather(ask(source, uuid), ask(target, uuid))
    return judge(before, at_source, at_target), at_source, at_target


async def settle(
    before: Before,
    uuid: str,
    source: HostWatch,
    target: HostWatch,
    silent_s: float = SILENT_S,
) -> tuple[Judgement, bool]:
    """Ask until the hosts agree, or as long as waiting can help; the last judgement stands, and
    whether they are through. `silent_s`: so long an end may be silent.

    A migration that goes on in the hosts, or waits for its recovery, is the caller's (it has
    samples to take): then it returns at once.
    """
    begun, was_silent = time.monotonic(), False
    before_that: Outcome | None = None
    while True:
        judgement, at_source, at_target = await ask_both(before, uuid, source, target)
        silent = at_source is None or at_target is None
        if was_silent and not silent:
            begun = time.monotonic()
        was_silent = silent
        # The ends are asked at different instants: both running is believed the second time.
        split_again = judgement.outcome is before_that is Outcome.SPLIT
        waited_s = time.monotonic() - begun
        if judgement.settled or split_again or waited_s > (silent_s if silent else SETTLE_S):
            return judgement, True
        if standing(at_source, at_target) in (Standing.GOING, Standing.BROKEN):
            return judgement, False
        before_that = judgement.outcome
        await asyncio.sleep(1.0 if silent or before_that is Outcome.SPLIT else 0.3)
