"""The migrations whose forecasts are judged: the same list every time. Pure."""

import random
from dataclasses import dataclass

from tests.bench.benchlab import link_bytes_s

SEED = 3
MEMORIES_MIB = (256, 512, 1024)
LINKS_MBIT = (100, 150, 300, 400)
RATES_MB_S = (2, 8, 12, 30, 45, 80)
OVERS_MB = (40, 80, 150)
SMALL_OVERS_MB = (40, 80)
"""What fits beside the rest of a guest of 256 MiB."""
GENTLE_EACH = 9
"""So many that the link outruns, as many that outrun the link."""
QUIET = 5
BALANCED = 27
GENTLE_DEADLINE_S = 60
QUICK = 12


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One migration to forecast. Ordered so that neighbours share a lab, then a link."""

    memory_mib: int
    link_mbit: int
    policy: str
    rate_mb_s: int
    over_mb: int

    @property
    def link_bits_s(self) -> float:
        return self.link_mbit * 1e6

    @property
    def outruns_link(self) -> bool:
        """It writes more than the link carries; whether it converges is measured all the same."""
        return self.rate_mb_s * 1e6 >= link_bytes_s(self.link_bits_s)


def all_cases(seed: int = SEED) -> tuple[Case, ...]:
    """Of `gentle` ones about half outrun the link; all others are `balanced`."""
    draw = random.Random(seed)
    combinations = [
        (memory, link, rate, over)
        for memory in MEMORIES_MIB
        for link in LINKS_MBIT
        for rate in RATES_MB_S
        for over in (SMALL_OVERS_MB if memory == MEMORIES_MIB[0] else OVERS_MB)
    ]
    draw.shuffle(combinations)
    gentle = [Case(memory, link, "gentle", *rest) for memory, link, *rest in combinations]
    fast = [case for case in gentle if case.outruns_link][:GENTLE_EACH]
    slow = [case for case in gentle if not case.outruns_link][:GENTLE_EACH]
    draw.shuffle(combinations)
    balanced = [Case(m, link, "balanced", *rest) for m, link, *rest in combinations[:BALANCED]]
    pairs = [(memory, link) for memory in MEMORIES_MIB for link in LINKS_MBIT]
    quiet = [Case(m, link, "balanced", 0, 0) for m, link in draw.sample(pairs, QUIET)]
    return tuple(sorted([*fast, *slow, *balanced, *quiet]))


def quick_cases() -> tuple[int, ...]:
    """Numbers (from 1) of a few, all of one lab: both policies, spread over the links."""
    of_lab = [
        number for number, case in enumerate(all_cases(), 1) if case.memory_mib == MEMORIES_MIB[1]
    ]
    step = max(1.0, len(of_lab) / QUICK)
    return tuple(of_lab[int(i * step)] for i in range(min(QUICK, len(of_lab))))
