"""A migration's words: phases, the big line, figures, decisions, the report."""

from dataclasses import replace

import pytest

from backend.model import (
    Band,
    Decision,
    Migration,
    Outcome,
    Outlook,
    Phase,
    PhaseState,
    Policy,
    Sample,
    Verdict,
    Word,
)
from tui.render import charts
from tui.render.migration_lines import (
    MigrationView,
    big_lines,
    decision_lines,
    figures,
    title,
    word_of,
)
from tui.render.phases import phase_line
from tui.render.report import least_bytes, report_lines

M = 1 << 20
START = 1_790_000_000.0
SAMPLE = Sample(20.0, 4, 40 * M, 512 * M, 412 * M, 23.8e6, 18.1e6, 300, pages_dup=1024)
RUNNING = Migration(
    "m-1",
    "db-1",
    "u-1",
    "kvm-a",
    "kvm-b",
    START,
    Policy("balanced", 300),
    phase=Phase.MEMORY,
    phases={
        Phase.PREPARE: PhaseState.DONE,
        Phase.DISK: PhaseState.SKIPPED,
        Phase.MEMORY: PhaseState.ACTIVE,
    },
    called_at=START + 1,
    sample=SAMPLE,
    outlook=Outlook(
        Word.CONVERGING,
        "switchover in 12–16 s, then a pause of 80–120 ms (allowed: 300 ms)",
        Band(12, 14, 16),
        expected_sent_bytes=530 * M,
    ),
)
VERDICT = Verdict(
    "m-1",
    "db-1",
    "kvm-a",
    "kvm-b",
    Outcome.MOVED,
    "kvm-b",
    "It runs on kvm-b.",
    27.4,
    28.1,
    84,
    sent_bytes=600 * M,
    passes=5,
)


def view(migration: Migration = RUNNING, *samples: Sample) -> MigrationView:
    return MigrationView(migration, START + 39, samples or (SAMPLE,), 0.7, 0.5)


def ended(**changes: object) -> MigrationView:
    return view(replace(RUNNING, verdict=replace(VERDICT, **changes)))  # type: ignore[arg-type]


def big(of: MigrationView, width: int = 120) -> list[str]:
    return [line.text for line in big_lines(of, width)]


def report(of: MigrationView, width: int = 120) -> str:
    return "\n".join(line.text.rstrip() for line in report_lines(of, width))


def test_the_phase_line() -> None:
    assert phase_line(RUNNING).text == (
        " prepare ✓ ── disk – ── memory ● ── switchover ○ ── verify ○"
    )


def test_the_title() -> None:
    text = title(view(), 100).text
    assert text.startswith(" db-1  kvm-a ⇢ kvm-b  live · balanced · encrypted")
    assert text.endswith("pass 4  38 s")
    assert "! plaintext" in title(view(replace(RUNNING, encrypted=False)), 100).text


def test_the_big_line_has_a_word_a_number_and_a_reason() -> None:
    first, second = big(view())
    assert first == (
        " ⇢ CONVERGING  switchover in 12–16 s, then a pause of 80–120 ms (allowed: 300 ms)"
    )
    assert second == "   18.1 MB/s written, 23.8 MB/s sent"


def test_an_abort_that_was_asked_for_is_said() -> None:
    assert "abort asked: db-1 stays on kvm-a" in big(view(replace(RUNNING, abort_asked=True)))[0]


def test_before_the_first_sample() -> None:
    early = replace(RUNNING, outlook=None, sample=None)
    assert big(view(early))[0].startswith(" ⇢ STARTING")
    assert figures(view(early), 100)[0].text == " no figures yet"


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome.MOVED, Word.MOVED),
        (Outcome.STAYED, Word.STAYED),
        (Outcome.UNKNOWN, Word.NEEDS_YOU),
        (Outcome.LOST, Word.NEEDS_YOU),
        (Outcome.SPLIT, Word.NEEDS_YOU),
    ],
)
def test_a_verdict_overrules_the_outlook(outcome: Outcome, word: Word) -> None:
    assert word_of(ended(outcome=outcome).migration) is word


def test_as_many_lines_whatever_they_say() -> None:
    for width, count in ((40, 3), (80, 3), (120, 2)):
        assert len(big(view(), width)) == count
        assert len(big(ended(), width)) == count


def test_what_would_help_is_whole_at_eighty_columns() -> None:
    reason = (
        "writes 24.0 MB/s, sends 22.4 MB/s: about 106 MB left at the start of every pass; "
        "would help: a pause limit of 5,500 ms, a faster link, or the VM writing less"
    )
    stuck = replace(RUNNING, outlook=Outlook(Word.WILL_NOT_CONVERGE, reason))
    text = " ".join(" ".join(big(view(stuck), 80)).split())
    assert text == f"! WILL NOT CONVERGE {reason}"


def test_figures() -> None:
    text = figures(view(), 200)[0].text
    for part in (
        "sent 412 M of ~530 M",
        "pass 4 ███░░░",
        "throttle –",
        "≤ 300 ms",
        "unlimited",
    ):
        assert part in text
    limited = replace(RUNNING, bandwidth_bytes_s=10_000_000, pause_limit_ms=180)
    text = figures(view(limited), 200)[0].text
    assert "pause ≤ 180 ms" in text
    assert "bandwidth ≤ 10 MB/s" in text


def test_decisions_have_a_time_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Decision(12.0, START + 12, "pause-limit", "pause limit 100 → 180 ms", "operator")
    (line,) = decision_lines((made,), 100)
    assert line.text.endswith("pause limit 100 → 180 ms (operator)")


def test_the_report_of_a_move() -> None:
    text = report(ended())
    for part in (
        "27.4 s, 28.1 s from the confirm",
        "84 ms of 300 ms allowed",
        "– not measured",
        "kvm-b, as seen from both ends",
        "5, 0 decisions",
        "leftovers none",
    ):
        assert part in text


def test_the_report_at_eighty_columns_says_the_same() -> None:
    words = set(report(ended(), 120).split())
    assert words == set(report(ended(), 80).split())


def test_a_pause_longer_than_allowed_shows() -> None:
    spans = [span for line in report_lines(ended(pause_ms=344), 120) for span in line.spans]
    assert ("344 ms", "warn") in spans


def test_leftovers_and_an_unknown_owner_are_not_hidden() -> None:
    text = report(
        ended(
            outcome=Outcome.UNKNOWN,
            owner=None,
            reason="kvm-b does not answer.",
            leftovers=("db-1 is still defined on kvm-a: virsh undefine db-1",),
        )
    )
    assert "not known: kvm-b does not answer." in text
    assert "virsh undefine db-1" in text


def test_the_least_possible_leaves_out_zero_pages() -> None:
    first = replace(SAMPLE, pass_number=1)
    assert least_bytes((first, SAMPLE)) == 412 * M
    assert least_bytes((first, replace(SAMPLE, sent_bytes=900 * M))) == 508 * M
    assert least_bytes((SAMPLE,)) is None


def test_the_forecast_goes_on_dotted() -> None:
    left = charts.left_to_send(view())
    assert [series.dotted for series in left.series] == [False, True]
    assert left.series[1].points[-1] == (34.0, 0.0)
    assert len(charts.left_to_send(ended()).series) == 1


def test_the_dirty_rate_is_drawn_from_where_it_is_known() -> None:
    first = replace(SAMPLE, t_s=1.0, pass_number=1, dirty_bytes_s=None)
    picture = charts.rates(view(RUNNING, first, SAMPLE))
    assert [len(series.points) for series in picture.series] == [2, 1]
    assert picture.marks == ((20.0, 4),)


def test_no_samples_is_a_word_not_a_crash() -> None:
    bare = MigrationView(RUNNING, START)
    assert charts.left_to_send(bare).message
    assert charts.rates(bare).series == ()
    assert charts.left_legend(None) == charts.rates_legend(None, 80) == ()
