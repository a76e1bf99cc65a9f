"""A migration's words: phases, the big line, figures, decisions, the report."""

from dataclasses import replace

import pytest

from backend.model import (
    Band,
    Control,
    Decision,
    Forecast,
    Migration,
    Mode,
    Outcome,
    Outlook,
    Phase,
    PhaseState,
    Policy,
    Sample,
    TrackRecord,
    Tuning,
    Verdict,
    Word,
)
from tui.render import charts, controls, units
from tui.render.migration_lines import (
    MigrationView,
    big_lines,
    deadline_left,
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


FORESEEN = Forecast(
    True, Band(24, 27, 31), Band(60, 84, 110), 5, 530 * M, throttle_percent=70, basis="6 readings"
)


def test_the_report_sets_the_forecast_against_what_happened() -> None:
    text = report(ended(forecast=FORESEEN, record=TrackRecord(1, 3.0, 100.0), throttle_percent=80))
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines()}
    assert rows["FORECAST"] == "FORECAST WHAT HAPPENED"
    assert rows["total"].startswith("total 24–31 s 27.4 s, 28.1 s from the confirm, inside the")
    assert rows["pause"] == "pause 60–110 ms 84 ms of 300 ms allowed, inside the band"
    assert rows["passes"] == "passes 5 5, 0 decisions"
    assert rows["sent"].startswith("sent 530 M 600 M")
    assert rows["throttle"] == "throttle 70 % 80 %"
    assert rows["rested"] == "rested on 6 readings"
    assert "over 1 move: off by 3 % in the middle, 100 % inside the band" in rows["so"]
    late = report(ended(forecast=FORESEEN, total_s=40.0))
    assert "40.0 s, 28.1 s from the confirm, outside the band" in late


def test_what_stayed_is_not_held_against_its_forecast() -> None:
    text = report(ended(outcome=Outcome.STAYED, owner="kvm-a", forecast=FORESEEN))
    assert "24–31 s" in text
    assert "side the band" not in text.split("so far")[0]


def test_outage_losses_network_and_stall_are_in_the_report() -> None:
    probed = replace(RUNNING, probe="ping from kvm-a")
    verdict = replace(
        VERDICT, outage_ms=112, lost_probes=9, network="it answers at 10.0.0.5", stall_ms=1300
    )
    text = report(view(replace(probed, verdict=verdict)))
    for part in ("112 ms, 9 probes lost", "it answers at 10.0.0.5", "1.3 s of"):
        assert part in text
    assert "ping from kvm-a" not in text
    alone = replace(probed, verdict=replace(verdict, network=""))
    assert "112 ms, 9 probes lost  ping from kvm-a" in report(view(alone))


def test_what_is_left_to_do_stands_first() -> None:
    lines = report(ended(leftovers=("undefine it there",), forecast=FORESEEN)).splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["owner", "leftovers"]


def test_what_is_special_stands_first_in_the_title() -> None:
    held = replace(RUNNING, hold=True, at=START + 3600)
    text = title(view(held), 100).text
    assert "held · at " in text
    assert text.index("held") < text.index("balanced")
    assert "post-copy · live" in title(view(replace(RUNNING, post_copy=True)), 100).text


def test_a_held_one_promises_no_switchover() -> None:
    held = replace(RUNNING, hold=True, pause_limit_ms=1)
    assert "held until told, 40 M left to send; w switches over now" in big(view(held))[0]
    assert f"held until {units.clock(START)}" in big(view(replace(held, at=START)))[0]
    assert "pause ≤ 300 ms" in figures(view(held), 200)[0].text
    assert len(charts.left_to_send(view(held)).series) == 1


def test_the_deadline_counts_down_while_it_counts() -> None:
    limited = replace(RUNNING, deadline_s=100.0)
    assert deadline_left(view(limited)) == ("deadline 1 m 02 s", "dim")
    assert deadline_left(view(replace(limited, deadline_s=60.0)))[1] == "warn"
    for free in ({"hold": True}, {"post_copy": True}, {"deadline_s": None}):
        assert deadline_left(view(replace(limited, **free)))[0] == ""


@pytest.mark.parametrize(
    ("changes", "control", "reason"),
    [
        ({}, Control.ABORT, ""),
        ({"controls": ()}, Control.POST_COPY, "move it under must-finish"),
        ({"controls": (), "called_at": None}, Control.BANDWIDTH, "still being prepared"),
        ({"controls": (), "post_copy": True}, Control.ABORT, "no way back"),
        ({"controls": (), "recoverable": True}, Control.ABORT, "recover it"),
        ({"controls": (), "abort_asked": True}, Control.ABORT, "asked for already"),
        ({"controls": (), "suspended": True}, Control.SUSPEND, "suspended already"),
        ({"controls": ()}, Control.HOLD, "writes too little"),
        ({"controls": (), "phase": Phase.VERIFY}, Control.HOLD, "Too late"),
        (
            {"controls": (), "tuning": Tuning(50, post_copy=True), "sample": None},
            Control.POST_COPY,
            "first bytes",
        ),
        ({"controls": ()}, Control.RECOVER, "Nothing is broken"),
        ({"controls": (Control.ABORT,), "verdict": VERDICT}, Control.ABORT, "has ended"),
    ],
)
def test_why_a_control_is_not_offered(
    changes: dict[str, object], control: Control, reason: str
) -> None:
    m = replace(RUNNING, **{"controls": (Control.ABORT,), **changes})  # type: ignore[arg-type]
    said = controls.why_not(m, control)
    assert reason in said
    assert bool(reason) is bool(said)


def test_a_suspend_predicts_its_pause_with_what_was_written_since_the_pass_began() -> None:
    began = replace(SAMPLE, t_s=18.0)
    low, high = controls.rest_band_s(view(RUNNING, began, SAMPLE)) or (0.0, 0.0)
    assert low == pytest.approx(40 * M / 23.8e6)
    assert high == pytest.approx((40 * M + 2 * 18.1e6) / 23.8e6)
    assert controls.rest_band_s(view(RUNNING, replace(SAMPLE, rate_bytes_s=0.0))) is None


def test_disks_that_move_between_pools_promise_no_target_and_no_pause() -> None:
    here = replace(RUNNING, mode=Mode.STORAGE, target=RUNNING.source)
    assert "⇢" not in title(view(here), 120).text
    assert "copied" in figures(view(here), 120)[0].text
    assert "pause" not in "".join(row.text for row in figures(view(here), 120))
    assert "disks stay where they are" in big(view(replace(here, abort_asked=True)))[0]
    verdict = replace(
        VERDICT, mode=Mode.STORAGE, target=here.source, owner=here.source, pause_ms=None
    )
    moved = view(replace(here, verdict=verdict))
    assert "not paused" in big(moved)[0]
    off = replace(here, idle=True, verdict=verdict)
    assert "paused" not in big(view(off))[0]
    assert "both ends" not in report(moved)
    assert "throttle" not in report(moved)


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
