"""Whether a running migration converges: one judgement at each end of a pass, with hysteresis.

A pass is *bad* when the next one starts with about as much left (over 95 %) **and** the guest
wrote about as fast as the link sent (over 95 %); *good* when both have clearly fallen. The two
say the same in theory; asking both keeps one noisy figure from deciding.

- The first pass counts as bad by the rates alone, and only above 105 %: it carries the whole
  memory, so what is left after it proves nothing. A guest dirties unique memory the faster the
  shorter the look, so if it beats the link over the long first pass it always will.
- Far from the end (over three times the pause's share left, after a pass of a second or more)
  one bad pass is enough: the sums are large and the noise is small. Near it passes are short,
  figures noisy, and a guest just below the link's rate stumbles in by luck: there it takes five
  bad passes in a row, and three seconds of them.
- The word is taken back after two good passes in a row, or one in which what is left fell by
  more than a third, or as soon as what is left fits into the pause. Anything between good and
  bad changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from backend.plan.passes import PassSeen

BAD_RATIO = 0.95
GOOD_RATIO = 0.92
CLEARLY_GOOD_RATIO = 0.66
FIRST_PASS_BAD_RATIO = 1.05
FAR_SHARES = 3.0
FAR_PASS_S = 1.0
BAD_PASSES_NEAR = 5
BAD_NEAR_S = 3.0
GOOD_PASSES = 2


class Mark(Enum):
    """What one ended pass says."""

    GOOD = "good"
    UNCLEAR = "unclear"
    BAD = "bad"
    CLEARLY_GOOD = "clearly good"


@dataclass(slots=True)
class _Counts:
    hopeless: bool = False
    bad: int = 0
    bad_s: float = 0.0
    good: int = 0


def hopeless(passes: Sequence[PassSeen], pause_limit_ms: int) -> bool:
    """True when the migration is not going to end by itself, judged over all ended passes."""
    counts = _Counts()
    for one, after in pairwise(passes):
        _count(counts, one, after, pause_limit_ms)
    return counts.hopeless


def mark(one: PassSeen, after: PassSeen) -> Mark:
    """Judge the pass `one`, which `after` has ended."""
    if not one.rate_bytes_s or one.dirty_bytes_s is None or one.left_bytes <= 0:
        return Mark.UNCLEAR
    rates = one.dirty_bytes_s / one.rate_bytes_s
    lefts = after.left_bytes / one.left_bytes
    if one.number == 1:
        return Mark.BAD if rates >= FIRST_PASS_BAD_RATIO else Mark.UNCLEAR
    if min(rates, lefts) >= BAD_RATIO:
        return Mark.BAD
    if lefts <= CLEARLY_GOOD_RATIO:
        return Mark.CLEARLY_GOOD
    return Mark.GOOD if max(rates, lefts) <= GOOD_RATIO else Mark.UNCLEAR


def _count(counts: _Counts, one: PassSeen, after: PassSeen, pause_limit_ms: int) -> None:
    found, took_s = mark(one, after), one.took_s or 0.0
    share = one.rate_bytes_s * pause_limit_ms / 1000
    if found is Mark.BAD:
        counts.bad, counts.bad_s = counts.bad + 1, counts.bad_s + took_s
    else:
        counts.bad, counts.bad_s = 0, 0.0
    if found is not Mark.CLEARLY_GOOD:
        counts.good = counts.good + 1 if found is Mark.GOOD else 0
    far = after.left_bytes > FAR_SHARES * share and took_s >= FAR_PASS_S
    stuck_near = counts.bad >= BAD_PASSES_NEAR and counts.bad_s >= BAD_NEAR_S
    if stuck_near or (far and found is Mark.BAD):
        counts.hopeless = True
    good = counts.good >= GOOD_PASSES or found is Mark.CLEARLY_GOOD
    if after.left_bytes <= share or good:
        counts.hopeless = False
