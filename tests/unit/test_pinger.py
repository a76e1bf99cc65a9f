"""What a probe prints is read as what it is, and whatever a host prints does no harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import BadInput
from backend.remote.pinger import Probed, Probing, parse_line, probe
from backend.remote.shell import LocalShell


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("probe icmp 20", Probing("icmp", 20)),
        ("probe tcp 200", Probing("tcp", 200)),
        ("probe none 0", Probing("none", 0)),
        (
            "[1795492839.088766] 64 bytes from 10.77.0.103: icmp_seq=1 ttl=64 time=6.10 ms",
            Probed(1795492839.088766, 1, True),
        ),
        (
            "[1795492839.1] 64 bytes from 2001:db8::1: icmp_seq=65535 ttl=64 time=1 ms (DUP!)",
            Probed(1795492839.1, 65535, True),
        ),
        ("[1795492839.196402] no answer yet for icmp_seq=7", Probed(1795492839.196402, 7, False)),
        ("[1795492839.5] 0 bytes from 10.77.0.103: icmp_seq=9", Probed(1795492839.5, 9, True)),
        ("[1795492839.5] From 10.77.0.13 icmp_seq=3 Destination Host Unreachable", None),
        ("PING 10.77.0.103 (10.77.0.103) 56(84) bytes of data.", None),
        ("[x] no answer yet for icmp_seq=7", None),
        ("[1795492839.5] no answer yet for icmp_seq=123456789", None),
        ("probe icmp 20; reboot", None),
        ("", None),
    ],
)
def test_lines(line: str, found: object) -> None:
    assert parse_line(line) == found


@given(st.text(max_size=200))
def test_any_line_is_read_or_passed_over(line: str) -> None:
    found = parse_line("[1795492839.5] " + line)
    assert found is None or isinstance(found, Probed)


@pytest.mark.parametrize("address", ["db-1", "-f", "10.0.0.1; reboot", "$(reboot)", ""])
async def test_only_a_literal_address_is_probed(address: str) -> None:
    stream = probe(LocalShell(), address)
    with pytest.raises(BadInput):
        await anext(stream)


@pytest.mark.parametrize("tcp", [False, True])
async def test_this_machine_answers_itself(tcp: bool) -> None:
    stream = probe(LocalShell(), "127.0.0.1", tcp=tcp, port=1)
    first = await anext(stream)
    assert isinstance(first, Probing)
    assert (first.kind, first.interval_ms) == ("tcp" if tcp else "icmp", 20)
    answers = [await anext(stream) for _ in range(3)]
    assert [one.number for one in answers if isinstance(one, Probed) and one.answered] == [1, 2, 3]
    await stream.aclose()  # type: ignore[attr-defined]
