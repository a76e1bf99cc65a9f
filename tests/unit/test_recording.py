"""Recordings come from outside: what is not whole is one sentence, never a crash."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.service.client import BadInput
from backend.service.protocol import GetMigration, ListPast, PastReply, StopEngine
from tests.unit.test_export import ENDED, ONE, SAMPLES
from tui import recording
from tui.export import files
from tui.recorded_engine import RecordedEngine
from tui.render import charts, units
from tui.render.migration_lines import big_lines, figures, title
from tui.render.phases import phase_line
from tui.render.plot import plot_lines
from tui.render.report import report_text
from tui.replay import Recording

ROOT = Path(__file__).resolve().parents[2]
OTHER = Recording(replace(ENDED, id="m-2", vm="web-1", started=ENDED.started + 60), ())
WHOLE = recording.encode((ONE, OTHER))


def show(one: Recording) -> None:
    """Everything a screen or a report makes of it, at some moments."""
    for part in (0.0, 0.3, 0.9, 1.0):
        view = one.view(one.length_s * part)
        for lines in (big_lines(view, 80), figures(view, 80), [title(view, 80)]):
            assert lines
        assert phase_line(view.migration).spans
        for picture in (charts.left_to_send(view), charts.rates(view)):
            limit = picture.y_limit or 1.0
            assert plot_lines(picture, charts.size_label, limit, 40, 6)
        units.clock(view.now)
    report_text(one.view(one.length_s), 80)
    for ending in files.ENDINGS:
        files.written_as(ending, (one,))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl"
    files.write(path, WHOLE)
    assert recording.read(path) == (ONE, OTHER)
    show(ONE)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in WHOLE.splitlines()]


def joined(entries: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def refused(content: bytes) -> str:
    with pytest.raises(BadInput) as met:
        recording.decode(content, "x.jsonl")
    assert met.value.exit_code == 2
    assert met.value.remedy
    return met.value.sentence


def test_what_is_not_a_recording_says_so() -> None:
    for content in (b"", b"\n", b"{}", b"\x00\xff" * 50, b"[1]", b'{"t": 0, "change": null}'):
        assert refused(content).startswith("x.jsonl is not a whole recording")
    assert "another version" in refused(b'{"virt_ferry_recording": 2}\n')
    assert "no migration in it" in refused(b'{"virt_ferry_recording": 1}\n')
    assert "larger than any recording" in refused(b" " * (recording.MOST_BYTES + 1))


def test_one_cut_short_in_the_middle_of_a_line_says_which() -> None:
    assert f"line {len(lines())}" in refused(WHOLE[:-10])


def test_no_file_makes_the_console_slow_with_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_SAMPLES", len(SAMPLES) - 1)
    assert "more samples than any migration has" in refused(WHOLE)


def test_samples_out_of_order_and_strays_are_told() -> None:
    head, migration, first, second = lines()[:4]
    assert "not in order" in refused(joined([head, migration, second, first]))
    assert "a sample of no migration" in refused(joined([head, first]))
    assert "in it twice" in refused(joined([head, migration, migration]))
    assert "neither" in refused(joined([head, migration, {}]))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("started",), 1e300),
        (("started",), -1.0),
        (("called_at",), 1e18),
        (("verdict", "wall_s"), 1e12),
        (("verdict", "total_s"), float("1e308")),
        (("verdict", "sent_bytes"), 2**80),
        (("verdict", "reason"), "x" * 100_000),
        (("decisions", 0, "at"), 1e15),
    ],
)
def test_a_figure_that_cannot_be_is_refused(where: tuple[Any, ...], value: object) -> None:
    entries = lines()[:2]
    inner = entries[1]["migration"]
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    assert "line 2" in refused(joined(entries))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_damage_of_bytes_is_more_than_a_sentence(data: st.DataObject) -> None:
    content = bytearray(recording.encode((Recording(ENDED, SAMPLES[::20]),)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        cut = data.draw(st.integers(0, 6))
        content[place : place + cut] = data.draw(st.binary(max_size=6) | st.sampled_from(_BITS))
    try:
        found = recording.decode(bytes(content), "x.jsonl")
    except BadInput:
        return
    for one in found:
        show(one)


_BITS = (b"null", b"-1", b"1e400", b"1e18", b"0", b"[]", b"{}", b'"', b"9" * 20, b"\n")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
    st.sampled_from([0, -1, 1e-9, 1e17, 2**59, "unknown", "storage", "disk"]),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_value_in_any_place_is_more_than_a_sentence(data: st.DataObject) -> None:
    short = recording.encode((Recording(ENDED, SAMPLES[::20]),))
    entries = [json.loads(line) for line in short.splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        _change(data, data.draw(st.sampled_from(entries[1:])))
    try:
        found = recording.decode(joined(entries), "x.jsonl")
    except BadInput:
        return
    for one in found:
        show(one)


def _change(data: st.DataObject, inside: Any) -> None:
    """One value somewhere in it."""
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = inside[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            inside[key] = data.draw(VALUES)
            return
        inside = inner


@example(b"{" * 5000)
@given(st.binary(max_size=200))
def test_no_bytes_at_all_are_more_than_a_sentence(content: bytes) -> None:
    refused(b'{"virt_ferry_recording": 1}\n' + content)


async def test_a_recording_answers_for_an_engine_and_does_nothing_else() -> None:
    engine = RecordedEngine((OTHER, ONE))
    reply = await engine.call(ListPast())
    assert isinstance(reply, PastReply)
    assert [past.id for past in reply.past] == ["m-1", "m-2"]
    for request in (StopEngine(), GetMigration("nope")):
        with pytest.raises(BadInput, match="This is a recording"):
            await engine.call(request)


def test_the_shipped_one_is_whole_and_of_a_real_move() -> None:
    (one,) = recording.read(recording.SHIPPED)
    assert one.migration.verdict is not None
    assert len(one.samples) > 100
    assert len(one.migration.turns) > 10
    show(one)


# -- the command -----------------------------------------------------------------------------


def replayed(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`virt-ferry replay` where neither libvirt nor asyncssh can be imported, nor an engine run."""
    code = (
        "import sys\n"
        "sys.modules['libvirt'] = sys.modules['asyncssh'] = None\n"
        "from tui.command import main\n"
        "sys.exit(main(['replay', *sys.argv[1:]]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(tmp_path / "state")},
    )


def test_a_damaged_file_is_a_sentence_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(WHOLE[:-10])
    done = replayed(tmp_path, str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("virt-ferry: damaged.jsonl is not a whole recording")
    assert "Traceback" not in done.stderr
    missing = replayed(tmp_path, str(tmp_path / "no\x1bne.jsonl"))
    assert missing.returncode == 2
    assert "cannot be read: No such file" in missing.stderr
    assert "\x1b" not in missing.stderr
    assert "--speed" in replayed(tmp_path, "--speed", "0").stderr
    assert not (tmp_path / "state").exists()
