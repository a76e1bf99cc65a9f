"""A host's load from two blocks, and the script that prints them, run here."""

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadDocument
from backend.remote.facts import (
    FACTS_SCRIPT,
    Counters,
    facts_between,
    is_uplink,
    local_counters,
    parse_block,
    waited_us,
)

BLOCK = [
    "up 100.00",
    "cpu  100 0 100 700 100 0 0 0 0 0",
    "cpus 4",
    "total 1000",
    "free 400",
    "net eth0 1000 2000 1000",
    "net eth1 0 0 -1",
]
LATER = [
    "up 102.00",
    "cpu  200 0 150 750 100 0 0 0 0 0",
    "cpus 4",
    "total 1000",
    "free 300",
    "net eth0 3000 12000 1000",
    "net eth2 99999 99999 10000",
]


def test_the_first_block_has_no_rates() -> None:
    facts = facts_between(None, parse_block(BLOCK))
    assert (facts.cpu_percent, facts.link_out_bytes_s, facts.link_in_bytes_s) == (None, None, None)
    assert (facts.cpus, facts.memory_bytes, facts.memory_used_bytes) == (4, 1024000, 614400)
    assert facts.link_speed_bytes_s == 125_000_000


def test_rates_are_differences() -> None:
    facts = facts_between(parse_block(BLOCK), parse_block(LATER))
    assert facts.cpu_percent == 75.0
    assert facts.link_in_bytes_s == 1000
    assert facts.link_out_bytes_s == 5000
    assert facts.link_speed_bytes_s == 1_250_000_000


def test_pressure_is_the_time_in_which_something_waited() -> None:
    before, now = parse_block([*BLOCK, "psi 1000000"]), parse_block([*LATER, "psi 1500000"])
    assert facts_between(before, now).pressure_percent == 25.0
    assert facts_between(None, now).pressure_percent is None
    assert facts_between(parse_block(BLOCK), now).pressure_percent is None
    assert facts_between(now, parse_block([*LATER, "up 103", "psi 9"])).pressure_percent == 0.0


def test_a_counter_that_fell_counts_for_nothing() -> None:
    facts = facts_between(parse_block(LATER), parse_block([*BLOCK, "up 103"]))
    assert (facts.link_in_bytes_s, facts.link_out_bytes_s) == (0, 0)


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    assert facts_between(parse_block(BLOCK), parse_block(BLOCK)).link_out_bytes_s is None


@pytest.mark.parametrize("missing", range(5))
def test_an_incomplete_block_is_refused(missing: int) -> None:
    with pytest.raises(BadDocument):
        parse_block(BLOCK[:missing] + BLOCK[missing + 1 :])


@given(st.lists(st.text(max_size=30), max_size=12))
def test_any_lines_are_read_or_refused(lines: list[str]) -> None:
    try:
        facts_between(None, parse_block(lines))
    except BadDocument:
        return


def _block_printed_here() -> Counters:
    process = subprocess.Popen(
        ["/bin/sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(FACTS_SCRIPT)
    process.stdin.close()
    lines = []
    for line in process.stdout:
        if line.strip() == "end":
            break
        lines.append(line)
    process.stdout.close()
    assert process.wait(5) != 0, "it goes on though nobody reads"
    return parse_block(lines)


def test_the_script_and_psutil_agree_about_this_machine() -> None:
    far, here = _block_printed_here(), local_counters()
    assert far.cpus == here.cpus
    assert far.memory_bytes == here.memory_bytes
    assert set(far.interfaces) == set(here.interfaces)
    assert far.memory_free_bytes == pytest.approx(here.memory_free_bytes, rel=0.1)
    assert 0 < far.cpu_busy < far.cpu_total
    assert (far.waited_us is None) is not Path("/proc/pressure/cpu").exists()
    assert (here.waited_us is None) is (far.waited_us is None)


def test_a_kernel_without_pressure_tells_none(tmp_path: Path) -> None:
    assert waited_us(tmp_path / "none") is None
    told = tmp_path / "cpu"
    told.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=77\n")
    assert waited_us(told) == 77


def test_only_what_leaves_the_host_is_an_uplink(tmp_path: Path) -> None:
    def interface(name: str, kind: str = "1", *inside: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        (path / "type").write_text(kind + "\n")
        for entry in inside:
            (path / entry).mkdir()
        return path

    assert is_uplink(interface("eth0"))
    assert is_uplink(interface("eth1", "1", "upper_bond0"))
    assert not is_uplink(interface("lo", "772"))
    assert not is_uplink(interface("vnet0", "1", "tun_flags"))
    assert not is_uplink(interface("br0", "1", "bridge", "lower_eth0"))
    assert not is_uplink(interface("bond0", "1", "lower_eth1"))
    assert not is_uplink(tmp_path / "gone")


def test_reading_this_machine_is_quick() -> None:
    begun = time.perf_counter()
    for _ in range(20):
        local_counters()
    assert time.perf_counter() - begun < 1.0
