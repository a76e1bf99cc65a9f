"""A migration that goes on in the hosts after its call has ended; above all in post-copy.

libvirt's call may fail although QEMU's stream lives (its keepalive gives up after 30 s without a
link): then the VM arrives by itself. Or the stream is broken: then the VM stands still, half of
its memory on each host, until the same call is made again with "resume". What is so only both
ends can tell, so they are asked until they do.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from backend.errors import BadInput, FerryError
from backend.fleet.host import HostWatch
from backend.hypervisor import migrate
from backend.hypervisor.migrate import MigrationOrder
from backend.model import Outlook, Phase, PhaseState, Sample, Word
from backend.plan.passes import silent_s
from backend.plan.wording import seconds
from backend.run.controls import ENGINE, OPERATOR
from backend.run.mirrors import copied
from backend.run.reach import reaches
from backend.run.settle import SILENT_S, ask
from backend.run.told import Told
from backend.run.verdict import Standing, broken_sentence, standing

log = logging.getLogger(__name__)

LOOKS_PER_QUESTION = 5
"""Samples between two questions to both ends: about a second."""
STALL_S = 5.0
"""A post-copy in which nothing comes for so long is told."""
SILENT_IN_POST_COPY_S = 150.0
"""How long an end may be silent before the verdict is `unknown`: no link, then a reconnect."""
RECOVER_AFTER_S = 3.0
"""A stream that broke is left alone so long before the engine recovers it by itself."""
REACH_EVERY_S = 5.0

Look = Callable[[asyncio.Task[Any] | None], Awaitable[None]]


class Aftermath:
    """Follows one migration whose call has ended until the hosts are through with it."""

    def __init__(
        self,
        told: Told,
        order: MigrationOrder,
        source: HostWatch,
        target: HostWatch,
        look: Look,
        samples: Callable[[], Sequence[Sample]],
    ) -> None:
        """`look`: take a sample, and wait for its time or for the task given."""
        self._told = told
        self._order = order
        self._source = source
        self._target = target
        self._look = look
        self._samples = samples
        self._asked = asyncio.Event()
        self._by_itself = told.state.policy.post_copy
        """The engine may still recover it without being asked: once."""
        self._broken_s: float | None = None
        self._reached_s = 0.0
        self._stalled = False
        self._heard_s = 0.0
        self.recovered = False
        """A call that resumed it has returned well."""

    def ask_recovery(self) -> None:
        """The operator wants it recovered now. Raises BadInput where there is nothing to."""
        if not self._told.state.recoverable:
            raise BadInput(
                f"{self._told.state.vm} needs no recovery now.",
                "`virt-ferry watch` shows how it stands.",
            )
        self._asked.set()

    async def follow(self) -> None:
        """Until the hosts are through, or one has been silent for too long."""
        self._heard_s = time.monotonic()
        was = Standing.GOING
        while True:
            now = await self._standing()
            if now is Standing.BROKEN and was is not Standing.BROKEN:
                now = await self._standing()
            if now is Standing.OVER or self._given_up(now):
                break
            if now is Standing.BROKEN:
                await self._stand_still()
            else:
                self._go_on()
            if now is Standing.SILENT and was is not Standing.SILENT:
                self._told.note("note", self._unclear())
            was = now
            await self._wait()
        self._go_on()

    def tell_stall(self) -> None:
        """After each sample: a post-copy to which nothing comes, and its end, are told."""
        samples, state = self._samples(), self._told.state
        if not state.post_copy or state.recoverable or not samples:
            return
        quiet_s = silent_s(samples)
        stalled = quiet_s >= STALL_S and samples[-1].remaining_bytes > 0
        if stalled and not self._stalled:
            text = f"nothing has come for {seconds(quiet_s)}: it waits for its pages"
            self._told.note("note", f"{text}; look at the link")
        elif self._stalled and not stalled:
            self._told.note("note", "its pages come again")
        self._stalled = stalled

    async def _standing(self) -> Standing:
        """Ask both ends; samples go on meanwhile."""
        uuid = self._told.state.uuid
        asking = asyncio.gather(ask(self._source, uuid), ask(self._target, uuid))
        task = asyncio.ensure_future(_result(asking))
        try:
            while not task.done():
                await self._look(task)
        finally:
            task.cancel()
        now = standing(*task.result())
        if now is not Standing.SILENT or self._comes():
            self._heard_s = time.monotonic()
        return now

    def _comes(self) -> bool:
        """The source, which can be heard, still sends: there is nothing to give up."""
        samples = self._samples()
        fresh = samples and time.monotonic() - self._told.zero - samples[-1].t_s < 1.0
        return bool(fresh) and silent_s(samples) < 1.0

    def _given_up(self, now: Standing) -> bool:
        limit_s = SILENT_IN_POST_COPY_S if self._told.state.post_copy else SILENT_S
        return now is Standing.SILENT and time.monotonic() - self._heard_s > limit_s

    def _unclear(self) -> str:
        hosts = f"{self._source.name} and {self._target.name}"
        return f"not both hosts answer: how far it is is not known; {hosts} are asked until it is"

    async def _wait(self) -> None:
        for _ in range(LOOKS_PER_QUESTION):
            if self._asked.is_set():
                return
            await self._look(None)

    # -- a stream that broke -------------------------------------------------------------------

    async def _stand_still(self) -> None:
        """Tell what is so, once; recover it when that is wanted."""
        state = self._told.state
        if not state.recoverable:
            self._broken_s = time.monotonic()
            sentence = broken_sentence(state.vm, state.source, state.target)
            how = f"`virt-ferry recover {state.id}` goes on with it"
            outlook = Outlook(Word.NEEDS_YOU, f"{sentence} Recover it to go on.")
            self._told.update(recoverable=True, outlook=outlook)
            self._told.note("note", f"needs you: {sentence} {how}.")
        if self._asked.is_set():
            await self._recover("recovering its post-copy, as asked", OPERATOR)
        elif self._by_itself and await self._link_works():
            self._by_itself = False
            reason = (
                f"{state.source} reaches {state.target} again: recovering its post-copy, since"
                " standing still helps nobody (once; then it is yours)"
            )
            await self._recover(reason, ENGINE)

    def _go_on(self) -> None:
        self._asked.clear()
        self._broken_s = None
        if self._told.state.recoverable:
            self._told.update(recoverable=False)

    async def _link_works(self) -> bool:
        """From source to target; asked now and then. Without a shell the call itself tells."""
        now_s = time.monotonic()
        settled = self._broken_s is not None and now_s - self._broken_s >= RECOVER_AFTER_S
        if not settled or now_s - self._reached_s < REACH_EVERY_S:
            return False
        self._reached_s = now_s
        return await reaches(self._source, self._target)

    async def _recover(self, reason: str, by: str) -> None:
        """The same call again, to its end. What it says is only told: the ends decide."""
        self._asked.clear()
        order = replace(self._order, resume=True)
        self._told.update(recoverable=False)
        self._told.note("recover", reason, by=by)
        try:
            lane = await self._source.open_lane(f"recovery {self._told.state.id}")
            try:
                call = asyncio.create_task(
                    lane.call(lambda conn: migrate.run(conn, order), None, "recover the migration")
                )
                while not call.done():
                    await self._look(call)
                call.result()
            finally:
                await lane.close()
            self.recovered = True
        except FerryError as error:
            log.info("recovery of %s: %s", self._told.state.id, error)
            self._told.note("note", f"that recovery ended: {error.sentence}")


async def _result(answer: Awaitable[Any]) -> Any:
    return await answer


def begin_again(told: Told, why: str) -> None:
    """The call has ended, the migration has not: its phase goes on."""
    phases = told.state.phases | {Phase.VERIFY: PhaseState.WAITING}
    told.update(verdict=None, phases=phases)
    copying = copied(told.state.moves) != () and told.state.memory_at is None
    going = Phase.DISK if copying else Phase.MEMORY
    told.enter(Phase.SWITCHOVER if told.state.post_copy else going)
    told.note("note", why)
