"""The outlook of a running migration, on a small page-by-page simulation of pre-copy."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backend.model import Outlook, Phase, Sample, Word
from backend.plan.forecast import outlook, pass_ended_note, progress_fraction

MB = 1_000_000
PAGES = 2048


@dataclass
class Precopy:
    """QEMU's loop: send dirty pages in order; below the pause's share, look what was written.

    The writer goes round and round over its working set. `noise` is the spread of the link's
    rate from tick to tick.
    """

    memory: float
    link: float
    writes: float
    over: float
    limit_ms: int
    noise: float = 0.0
    seed: int = 0
    tick_s: float = 0.02
    samples: list[Sample] = field(default_factory=list)
    ended: bool = False

    def run(self, longest_s: float = 400.0, most_passes: int = 60) -> "Precopy":
        for sample in self._ticks(longest_s, most_passes):
            self.samples.append(sample)
        return self

    def _ticks(self, longest_s: float, most_passes: int) -> Iterator[Sample]:
        chance = random.Random(self.seed)
        page = self.memory / PAGES
        share = self.link * self.limit_ms / 1000
        to_send, written = set(range(PAGES)), set()
        cursor = sent = t = 0.0
        credit = owed = fresh = 0.0
        passes, synced_at, dirty = 1, 0.0, None
        working = max(1, min(PAGES, round(self.over / page)))
        queue = sorted(to_send)
        ticks = 0
        while t < longest_s and passes <= most_passes:
            factor = max(0.1, chance.gauss(1.0, self.noise)) if self.noise else 1.0
            credit += self.link * factor * self.tick_s / page
            owed += self.writes * self.tick_s / page
            for _ in range(int(credit)):
                if to_send:
                    to_send.discard(queue.pop(0))
                    sent += page
            credit %= 1
            for _ in range(int(owed)):
                written.add(int(cursor) % working)
                cursor += 1
            owed %= 1
            t += self.tick_s
            ticks += 1
            if len(to_send) * page < share:
                fresh += len(written - to_send) * page
                if t - synced_at > 1.0:  # QEMU's own rule
                    dirty, synced_at, fresh = fresh / (t - synced_at), t, 0.0
                to_send |= written
                written = set()
                queue = sorted(to_send)
                if len(to_send) * page < share:
                    self.ended = True
                    return
                passes += 1
            if ticks % 10 == 0:
                yield Sample(
                    t_s=t,
                    pass_number=passes,
                    remaining_bytes=round(len(to_send) * page),
                    total_bytes=round(self.memory),
                    sent_bytes=round(sent),
                    rate_bytes_s=self.link,
                    dirty_bytes_s=dirty,
                    pause_limit_ms=self.limit_ms,
                )


def views(run: Precopy) -> list[Outlook]:
    """The outlook at every sample."""
    return [
        outlook(run.samples[: n + 1], run.limit_ms, Phase.MEMORY) for n in range(len(run.samples))
    ]


def first_hopeless_pass(run: Precopy) -> int | None:
    for sample, view in zip(run.samples, views(run), strict=True):
        if view.word is Word.WILL_NOT_CONVERGE:
            return sample.pass_number
    return None


def turns(run: Precopy) -> int:
    """How often the word changes."""
    words = [view.word for view in views(run)]
    return sum(a is not b for a, b in itertools.pairwise(words))


# -- the lab's guests over 200 Mbit/s ----------------------------------------------------------

IDLE = Precopy(250 * MB, 24 * MB, 0.2 * MB, 4 * MB, 300)
WEB = Precopy(250 * MB, 24 * MB, 5 * MB, 100 * MB, 300)
DB = Precopy(260 * MB, 24 * MB, 20 * MB, 208 * MB, 300)
CACHE = Precopy(260 * MB, 24 * MB, 60 * MB, 208 * MB, 300)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("guest", [IDLE, WEB, DB])
def test_a_guest_that_converges_is_never_called_hopeless(guest: Precopy, noise: float) -> None:
    run = Precopy(
        guest.memory, guest.link, guest.writes, guest.over, guest.limit_ms, noise, seed=7
    ).run()
    assert run.ended
    assert {view.word for view in views(run)} == {Word.CONVERGING}


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_guest_far_above_the_link_is_named_within_three_passes(noise: float) -> None:
    run = Precopy(
        CACHE.memory, CACHE.link, CACHE.writes, CACHE.over, CACHE.limit_ms, noise, seed=3
    ).run(longest_s=120)
    named = first_hopeless_pass(run)
    assert named is not None
    assert named <= 3
    assert turns(run) == 1, "the word does not flicker"


def test_the_reason_carries_both_rates_and_what_would_help() -> None:
    run = Precopy(CACHE.memory, CACHE.link, CACHE.writes, CACHE.over, 300).run(longest_s=60)
    reason = views(run)[-1].reason
    assert "writes 2" in reason
    assert "sends 24.0 MB/s" in reason
    assert "a pause limit of" in reason
    assert "a faster link" in reason


def test_the_first_pass_says_how_far_it_is_and_nothing_of_convergence() -> None:
    run = Precopy(DB.memory, DB.link, DB.writes, DB.over, 300).run(longest_s=5)
    view = views(run)[-1]
    assert view.word is Word.CONVERGING
    assert view.reason.startswith("first pass: ")
    assert view.left_s is None
    assert "more" in view.reason


def test_nothing_sampled_yet() -> None:
    assert outlook([], 300, Phase.PREPARE).word is Word.STARTING
    assert outlook([], 300, Phase.MEMORY).word is Word.STARTING


def test_the_end_phases() -> None:
    run = Precopy(WEB.memory, WEB.link, WEB.writes, WEB.over, 300).run()
    for phase in (Phase.SWITCHOVER, Phase.VERIFY):
        assert outlook(run.samples, 300, phase).word is Word.SWITCHING_OVER


def test_a_disk_being_copied_shows_how_much_is_left() -> None:
    samples = [
        Sample(
            t_s=n * 0.2,
            pass_number=1,
            remaining_bytes=512 * 2**20,
            total_bytes=512 * 2**20,
            sent_bytes=n * 5 * MB,
            rate_bytes_s=25 * MB,
            dirty_bytes_s=None,
            disk_total_bytes=2 * 2**30,
            disk_remaining_bytes=2 * 2**30 - n * 5 * MB,
        )
        for n in range(20)
    ]
    view = outlook(samples, 300, Phase.DISK)
    assert view.word is Word.COPYING_DISK
    assert "of 2.0 G of disk left, at 25.0 MB/s: about 82 s" in view.reason


def test_a_silent_link_is_told_and_has_no_eta() -> None:
    run = Precopy(WEB.memory, WEB.link, WEB.writes, WEB.over, 300).run()
    last = run.samples[-1]
    quiet = [
        Sample(
            t_s=last.t_s + n * 0.2,
            pass_number=last.pass_number,
            remaining_bytes=last.remaining_bytes,
            total_bytes=last.total_bytes,
            sent_bytes=last.sent_bytes,
            rate_bytes_s=0,
            dirty_bytes_s=last.dirty_bytes_s,
        )
        for n in range(1, 26)
    ]
    view = outlook([*run.samples, *quiet], 300, Phase.MEMORY)
    assert view.word is Word.CONVERGING
    assert view.left_s is None
    assert view.reason.startswith("nothing has been sent for 5 s")


def test_a_guest_that_stops_writing_is_taken_back() -> None:
    run = Precopy(CACHE.memory, CACHE.link, CACHE.writes, CACHE.over, 300)
    stream = run._ticks(300, 60)
    for sample in stream:
        run.samples.append(sample)
        if sample.t_s > 30:
            run.writes = 1 * MB
    assert run.ended
    words = [view.word for view in views(run)]
    assert Word.WILL_NOT_CONVERGE in words
    assert words[-1] is Word.CONVERGING


def test_a_longer_pause_limit_takes_the_word_back_at_once_when_it_suffices() -> None:
    run = Precopy(CACHE.memory, CACHE.link, CACHE.writes, CACHE.over, 300).run(longest_s=60)
    assert outlook(run.samples, 300, Phase.MEMORY).word is Word.WILL_NOT_CONVERGE
    assert outlook(run.samples, 10_000, Phase.MEMORY).word is Word.CONVERGING


def test_the_note_of_an_ended_pass() -> None:
    run = Precopy(DB.memory, DB.link, DB.writes, DB.over, 300).run(most_passes=2)
    note = pass_ended_note(run.samples, 300)
    assert note.startswith("pass 1 ended: 20")
    assert "MB/s written, 24.0 MB/s sent, " in note
    assert "MB left → about " in note
    assert note.endswith("more passes")
    assert pass_ended_note(run.samples[:3], 300) == ""


# -- properties --------------------------------------------------------------------------------

memories = st.floats(100 * MB, 4000 * MB)
links = st.floats(5 * MB, 400 * MB)
limits = st.sampled_from([50, 100, 300, 1000])
noises = st.sampled_from([0.0, 0.05, 0.15])
seeds = st.integers(0, 99)
quick = settings(max_examples=25, deadline=None)


@quick
@given(memories, links, st.floats(0, 0.8), st.floats(0.05, 1), limits, noises, seeds)
def test_what_converges_is_said_to_and_its_figures_hold(
    memory: float, link: float, part: float, over: float, limit: int, noise: float, seed: int
) -> None:
    run = Precopy(memory, link, part * link, over * memory, limit, noise, seed).run()
    assume(run.ended and run.samples)
    seen = views(run)
    assert seen[-1].word is Word.CONVERGING
    for sample, view in zip(run.samples, seen, strict=True):
        if view.left_s is not None:
            assert 0 <= view.left_s.low <= view.left_s.mid <= view.left_s.high
        if view.pause_ms is not None:
            assert 0 < view.pause_ms.low <= view.pause_ms.mid <= view.pause_ms.high
        if view.expected_sent_bytes is not None:
            assert view.expected_sent_bytes >= sample.sent_bytes


@pytest.mark.long
@quick
@given(memories, links, st.floats(1.3, 10), st.floats(0.3, 1), limits, noises, seeds)
def test_hopeless_writers_are_named_within_three_passes(
    memory: float, link: float, times: float, over: float, limit: int, noise: float, seed: int
) -> None:
    assume(over * memory > 6 * link * limit / 1000 and over * memory > 1.5 * link)
    run = Precopy(memory, link, times * link, over * memory, limit, noise, seed)
    run.run(longest_s=6 * memory / link, most_passes=4)
    assume(run.samples and run.samples[-1].pass_number >= 3)
    named = first_hopeless_pass(run)
    assert named is not None
    assert named <= 3


@quick
@given(memories, links, st.floats(0, 1.5), st.floats(0.05, 1), noises, seeds)
def test_a_longer_pause_never_takes_longer(
    memory: float, link: float, part: float, over: float, noise: float, seed: int
) -> None:
    run = Precopy(memory, link, part * link, over * memory, 300, noise, seed)
    run.run(longest_s=3 * memory / link, most_passes=5)
    assume(run.samples)
    left = []
    for limit in (100, 200, 300, 600, 1200):
        view = outlook(run.samples, limit, Phase.MEMORY)
        left.append(view.left_s.mid if view.left_s else float("inf"))
    assume(run.samples[-1].pass_number > 1)
    assert all(b <= a + 1e-6 for a, b in itertools.pairwise(left))


@quick
@given(memories, links, st.floats(0, 3), st.floats(0.05, 1), limits, noises, seeds)
def test_progress_never_runs_backwards(
    memory: float, link: float, part: float, over: float, limit: int, noise: float, seed: int
) -> None:
    run = Precopy(memory, link, part * link, over * memory, limit, noise, seed)
    run.run(longest_s=8 * memory / link, most_passes=12)
    steps = range(0, len(run.samples), 1 + len(run.samples) // 100)
    done = [progress_fraction(run.samples[: n + 1], limit) for n in steps]
    assert all(0 <= one <= 1 for one in done)
    assert all(b >= a for a, b in itertools.pairwise(done))
