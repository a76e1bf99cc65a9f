"""As many migrations as fit in some minutes, with random faults at random moments: nothing is lost.

`VIRT_FERRY_SOAK_MINUTES` (30) and `VIRT_FERRY_SOAK_SEED` (random) choose; the seed and the numbers
are printed (`pytest -m soak -s`).
"""

import os
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.lab.conftest import Lab
from tests.lab.faults.faults import ANY_TIME, FAULTS
from tests.lab.faults.phases import DISK_VM, Held, set_links
from tests.lab.faults.play import Played, look, play, scene_of
from tests.lab.faults.scene import Scene
from tests.lab.ferry import Ferry

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

VMS = ("cache-1", "idle-1", "web-1", DISK_VM)
NEVER = ("engine killed", "target disk full", "link cut for 60 s", "second migration")
"""They have cells of their own; here they need a place or a time that is not random."""
LINKS_MBIT_S = (60, 400)
MOST_SENT_BYTES = 120_000_000


@dataclass(slots=True)
class Numbers:
    """Of a whole soak."""

    migrations: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, fault: str, played: Played) -> None:
        """One with a fault, and the one after it."""
        self.migrations += 2
        self.ends[played.ended] += 1
        self.faults[fault] += 1

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.migrations} migrations, {self.faults.total()} faults, nothing lost",
            f"ended: {dict(self.ends.most_common())}",
            f"faults: {dict(self.faults.most_common())}",
        ]


@dataclass(frozen=True, slots=True)
class AtRandom(Held):
    """The fault comes once so many bytes were sent, or at the end where it comes before."""

    link_mbit_s: int = 0

    def set_up(self, scene: Scene) -> None:
        """Before the command."""
        set_links(scene, self.link_mbit_s * 1_000_000)


def some_moment(chance: random.Random, more: tuple[str, ...]) -> AtRandom:
    """Anywhere between the first byte and the end; `more` of the command."""
    bytes_sent = chance.randrange(MOST_SENT_BYTES)

    async def meet(scene: Scene) -> None:
        with suppress(AssertionError):  # it has ended before
            await scene.running.until(event="sample", sent_bytes=lambda sent: sent > bytes_sent)

    words = ("--policy", chance.choice(("balanced", "must-finish", "gentle")), *more)
    return AtRandom(meet, words=words, link_mbit_s=chance.randint(*LINKS_MBIT_S))


async def test_a_soak(lab: Lab, ferry: Ferry) -> None:
    seed = os.environ.get("VIRT_FERRY_SOAK_SEED") or str(random.randrange(10**6))
    minutes = float(os.environ.get("VIRT_FERRY_SOAK_MINUTES", "30"))
    print(f"seed {seed}, {minutes:g} min")
    chance, numbers = random.Random(seed), Numbers()
    until_s = time.monotonic() + 60 * minutes
    while time.monotonic() < until_s:
        await one_round(lab, ferry, chance, numbers)
    print("\n".join(numbers.lines()))
    assert numbers.migrations


async def one_round(lab: Lab, ferry: Ferry, chance: random.Random, numbers: Numbers) -> None:
    vm = chance.choice(VMS)
    words = ("--remove-source",) if vm == DISK_VM else ()
    hold = some_moment(chance, words)
    fault = chance.choice([name for name in FAULTS if name not in NEVER])
    print(f"{numbers.migrations:4} {vm}: {fault}, {hold.link_mbit_s} Mbit/s, {hold.words[1]}")
    with scene_of(lab, ferry, vm, words) as scene:
        played = await play(scene, FAULTS[fault], hold, ANY_TIME)
        print(f"     {played.ended} after {played.seconds:.0f} s: {played.verdict['reason']}")
        numbers.add(fault, played)
        await look(scene, played)
