"""Reports in a file: complete, and not to be broken out of by any name."""

import os
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from backend.model import (
    Band,
    Decision,
    DiskAction,
    DiskMove,
    Forecast,
    Migration,
    Outcome,
    Phase,
    PhaseState,
    Policy,
    Sample,
    TrackRecord,
    Verdict,
)
from backend.service.client import BadInput
from tui.export import content, files, markdown, page, svg
from tui.export.markup import Html, escaped, tag
from tui.render import charts
from tui.render.charts import Picture
from tui.replay import Recording

M = 1 << 20
START = 1_790_000_000.0
FORECAST = Forecast(True, Band(24, 27, 31), Band(60, 84, 110), 5, 530 * M, basis="6 readings")
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
    outage_ms=120,
    sent_bytes=420 * M,
    passes=5,
    leftovers=("/images/old on kvm-a: remove it",),
    forecast=FORECAST,
    record=TrackRecord(12, 8.0, 92.0),
    network="its MAC is on br0",
    disks=("vda: same size and format",),
    kept=("kept: /images/a on kvm-a",),
)
ENDED = Migration(
    "m-1",
    "db-1",
    "u-1",
    "kvm-a",
    "kvm-b",
    START,
    Policy("balanced", 300),
    phases=dict.fromkeys(Phase, PhaseState.DONE),
    called_at=START + 1,
    decisions=(
        Decision(0.2, START + 1.2, "pause-limit", "pause limit 300 ms, as agreed"),
        Decision(9.0, START + 10.0, "bandwidth", "bandwidth 20 MB/s", "operator"),
    ),
    moves=(DiskMove("vda", DiskAction.COPY, "/images/a", "qcow2", 4 << 30, 2 << 30, "p"),),
    virsh="virsh migrate db-1 qemu+tls://kvm-b/system",
    verdict=VERDICT,
)
DISKS = tuple(
    Sample(t / 20, 0, 0, 0, t * M, 20e6, None, disk_total_bytes=9 * M, disk_remaining_bytes=t * M)
    for t in range(4)
)
SAMPLES = DISKS + tuple(
    Sample(t / 5, 1 + t // 40, (200 - t) * M, 512 * M, t * M, 23e6, 18e6 if t > 39 else None)
    for t in range(1, 130)
)
ONE = Recording(ENDED, SAMPLES)
HOSTILE = (
    "</td></table><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "x' onload='alert(1)",
    "]]>&lt;b&gt;<!--",
    "| a | `code` **bold** _em_ [link](https://evil.example) ![i](x)",
    "https://evil.example/?a=1 www.evil.example me@evil.example",
    "@everyone #42 ~~gone~~ $x^2$",
    "# heading\n- item\n```\nfence\n<b>x</b>",
    "\x1b[31mred\x07\u202egnp\u2066",
    "\ud800 lone",
)


def named(name: str) -> Recording:
    """Everything that comes from outside called so."""
    verdict = replace(
        VERDICT,
        vm=name,
        source=name,
        target=name,
        owner=name,
        reason=name,
        network=name,
        leftovers=(name,),
        disks=(name,),
        kept=(name,),
        policy=name,
        forecast=replace(FORECAST, basis=name),
    )
    move = replace(ENDED.moves[0], target=name, source=name, pool=name, destination=name)
    decision = replace(ENDED.decisions[0], reason=name)
    return Recording(
        replace(
            ENDED,
            id=name,
            vm=name,
            uuid=name,
            source=name,
            target=name,
            policy=Policy(name, 300),
            verdict=verdict,
            decisions=(decision,),
            moves=(move,),
            virsh=name,
            probe=name,
        ),
        SAMPLES,
    )


class Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Seen:
    """As a ticket shows Markdown: tables, and links made of what looks like one."""
    shown = MarkdownIt("gfm-like", {"html": True}).render(text)
    return Seen(shown)


@pytest.mark.parametrize("form", [page.page, markdown.document])
def test_a_report_has_everything_a_ticket_wants(form: object) -> None:
    text = form((ONE,), "Made now.")  # type: ignore[operator]
    seen = Seen(text) if form is page.page else rendered(text)
    for part in (
        "db-1",
        "kvm-a → kvm-b",
        "MOVED",
        "It runs on kvm-b.",
        "27.4 s",
        "24–31 s",
        "84 ms of 300 ms allowed",
        "120 ms",
        "420 M",
        "balanced, pause at most 300 ms",
        "/images/old on kvm-a: remove it",
        "copy 2 G of 4 G (qcow2) from /images/a",
        "kept: /images/a on kvm-a",
        "pause limit 300 ms, as agreed",
        "bandwidth 20 MB/s (operator)",
        "virsh migrate db-1",
        "its MAC is on br0",
        "Made now.",
    ):
        assert part in seen.text


def test_several_vms_are_in_one_report_with_a_summary() -> None:
    other = Recording(replace(ENDED, id="m-2", vm="web-1"), ())
    seen = Seen(page.page((ONE, other), ""))
    assert seen.tags.count("section") == 2
    assert seen.tags.count("svg") == 4
    assert "Migration report: db-1, web-1" in seen.text
    assert "no samples yet" in seen.text
    again = replace(ONE, migration=replace(ENDED, id="m-3"))
    for made in (page.page, markdown.document):
        assert "report: db-1, db-1" not in made((ONE, again), "")


def test_a_page_runs_and_fetches_nothing() -> None:
    seen = Seen(page.page((ONE,), ""))
    assert not {"script", "link", "img", "iframe", "a", "object"} & set(seen.tags)
    names = {name for name, _ in seen.attributes}
    assert not names & {"src", "href", "style"}
    assert not [name for name in names if name.startswith("on")]
    assert ("content", page.POLICY) in seen.attributes


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_adds_markup_to_a_page(name: str) -> None:
    plain, hostile = Seen(page.page((named("x"),), "")), Seen(page.page((named(name),), ""))
    assert hostile.tags == plain.tags
    assert [key for key, _ in hostile.attributes] == [key for key, _ in plain.attributes]
    assert not set(hostile.text) & set("\x1b\x07\u202e\u2066\ud800")


@given(st.text(max_size=60))
def test_no_text_adds_markup_to_a_page(name: str) -> None:
    made = tag("td", name, title=name)
    seen = Seen(made)
    assert seen.tags == ["td"]
    assert [key for key, _ in seen.attributes] == ["title"]
    assert made.endswith("</td>")


def test_markup_is_not_escaped_twice() -> None:
    assert escaped(escaped("a<b")) == "a&lt;b"
    assert isinstance(tag("p", "a", Html("<br>")), Html)
    assert tag("p", "a<", Html("<br>")) == "<p>a&lt;<br></p>"


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_adds_markup_to_markdown(name: str) -> None:
    plain = rendered(markdown.document((named("x"),), ""))
    hostile = rendered(markdown.document((named(name),), ""))
    assert hostile.tags == plain.tags
    assert not set(hostile.text) & set("\x1b\x07\u202e\u2066\ud800")


@given(st.text(max_size=40))
def test_no_text_adds_markup_to_a_cell(text: str) -> None:
    seen = rendered(f"| a |\n| --- |\n| x {markdown.escaped(text)} |\n")
    assert seen.tags == ["table", "thead", "tr", "th", "tbody", "tr", "td"]


def test_what_is_escaped_still_reads_the_same() -> None:
    name = "vm_1*[a](b) <x> & `c` | 50% ~d~ #1 @e"
    seen = rendered(f"| a |\n| --- |\n| {markdown.escaped(name)} |\n")
    assert name in seen.text


@pytest.mark.parametrize("count", [0, 1, 2, 129, 20_000])
def test_a_drawing_is_whole_and_stays_in_its_frame(count: int) -> None:
    samples = tuple(
        Sample(t / 5, 1 + t // 500, t % 500 * M, 512 * M, t * M, 23e6, 18e6)
        for t in range(1, count + 1)
    )
    view = Recording(ENDED, samples).view(1e9)
    drawn = svg.drawing(charts.left_to_send(view), charts.size_label, "left")
    assert len(drawn) < 120_000
    root = ElementTree.fromstring(drawn)
    for line in root.iter("polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert svg.LEFT <= x <= svg.LEFT + svg.PLOT_W
            assert svg.TOP <= y <= svg.TOP + svg.PLOT_H
    assert root.find("title") is not None


def test_an_empty_picture_says_why() -> None:
    assert "only its definition moves" in svg.drawing(
        Picture(message="only its definition moves"), charts.size_label, "left"
    )


def test_each_pass_is_marked_and_crowded_numbers_are_left_out() -> None:
    marks = tuple((float(n), n) for n in range(2, 200))
    picture = Picture(newest_s=200.0, marks=marks)
    root = ElementTree.fromstring(svg.drawing(picture, charts.rate_label, "rates"))
    assert len([one for one in root.iter("line") if one.get("class") == "pass"]) == len(marks)
    numbers = [one for one in root.iter("text") if float(one.attrib["y"]) < svg.TOP]
    assert 5 < len(numbers) < svg.PLOT_W / svg.MARK_GAP + 1


# -- files -----------------------------------------------------------------------------------


def test_a_file_is_private_and_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "ticket.html"
    umask = os.umask(0)
    try:
        files.write(path, b"first")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(BadInput, match=r"ticket\.html exists and is left as it is"):
        files.write(path, b"second")
    assert path.read_bytes() == b"first"
    path.chmod(0o644)
    files.write(path, b"third", force=True)
    assert path.read_bytes() == b"third"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["ticket.html"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    link = tmp_path / "ticket.md"
    link.symlink_to(other)
    with pytest.raises(BadInput):
        files.write(link, b"report")
    files.write(link, b"report", force=True)
    assert other.read_bytes() == b"precious"
    assert not link.is_symlink()


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: No such file"):
        files.write(tmp_path / "no" / "where.html", b"")
    with pytest.raises(BadInput, match="directory"):
        files.write(tmp_path, b"", force=True)
    with pytest.raises(BadInput):
        files.write(Path("/dev/full"), b"x", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*HOSTILE, "../../etc/passwd", "..", "", "é" * 300])
def test_a_suggested_name_is_a_plain_one(name: str) -> None:
    made = files.default_name(name, START)
    assert made.isascii()
    assert "/" not in made
    assert not made.startswith((".", "-"))
    assert len(made) < 100
    assert made.endswith("-2026-09-21.html")


@pytest.mark.parametrize("ending", files.ENDINGS)
@pytest.mark.parametrize("name", HOSTILE)
def test_every_form_of_every_name_can_be_written(ending: str, name: str) -> None:
    hostile = named(name.replace("\ud800", "")) if ending == ".jsonl" else named(name)
    assert files.written_as(ending, (hostile,))


def test_a_migration_that_has_not_ended_says_so() -> None:
    running = Recording(replace(ENDED, verdict=None), SAMPLES)
    assert content.section(running).sentence == "It has not ended yet."
    assert "on its way" in content.summary(running)
