"""Whatever a host, a file or a client sends: what can be read is read, the rest is a sentence or
left out, and nothing else comes out."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import BadDocument, BadInput, FerryError
from backend.fleet import config
from backend.fleet.guests import Guests
from backend.hypervisor.dirty_rate import dirty_rate
from backend.hypervisor.domain_xml import MAX_DEPTH, parse_domain, parse_xml
from backend.hypervisor.domains import RawDomain, RawStats
from backend.hypervisor.networks import portable
from backend.hypervisor.stats import completed, job_progress, job_sample, vm_statistics
from backend.hypervisor.target_xml import (
    Changes,
    at_target,
    guarded,
    is_guarded,
    snapshot_at_target,
    unguarded,
)
from backend.hypervisor.vm_network import read_addresses, read_taps
from backend.model import Migration, Policy, Vm
from backend.plan.own_policies import own_policies
from backend.plan.policy import BUILT_IN
from backend.remote.copy_job import CopyJob
from backend.remote.daemon import parse_message
from backend.remote.facts import facts_between, parse_block
from backend.remote.images import FileStamp, parse_check, parse_facts
from backend.run.history import History
from backend.run.open_moves import OpenMoves
from backend.service.protocol import (
    Call,
    Hello,
    MigrationChanged,
    Publish,
    decode_call,
    decode_from_engine,
    encode,
)
from backend.service.server import _checked_hello
from tests.console.recorded import load
from tests.hostile import texts
from tests.mutations import cut_up, json_like, values, xml_like
from tests.unit.test_domain_xml import FULL
from tests.unit.test_network_xml import NAT
from tests.unit.test_stats import DOMSTATS, ENDED, LATER_PASS

QUICK = settings(max_examples=40)
EXAMPLES = settings(max_examples=80)


# -- domain XML ------------------------------------------------------------------------------


def read_as_the_engine_does(xml: str) -> None:
    """A definition all the way into what is published to the clients, and back."""
    raw = RawDomain("u-1", "db-1", xml, None, True, False, True, False, 0, 0)
    guests = Guests("kvm-a", {})
    guests.take_statistics([RawStats("u-1", "db-1", dict(DOMSTATS))], 1.0)
    guests.take_configs([raw])
    (vm,) = guests.vms
    line = msgspec.json.encode(vm)
    assert msgspec.json.decode(line, type=Vm) == vm


@EXAMPLES
@given(xml_like(FULL))
def test_a_changed_definition_is_read_or_refused(xml: str) -> None:
    read_as_the_engine_does(xml)
    changes = Changes({"vda": "/img/new.qcow2"}, {"br0": "br-lan"})
    for work in (
        parse_domain,
        lambda text: at_target(text, changes),
        lambda text: snapshot_at_target(f"<domainsnapshot>{text}</domainsnapshot>", changes),
        lambda text: unguarded(guarded(text, "kvm-a")),
        is_guarded,
        read_taps,
        lambda text: portable(text, True),
    ):
        with suppress(BadDocument):
            work(xml)


@QUICK
@given(cut_up(FULL) | texts)
def test_a_broken_definition_is_refused(xml: str) -> None:
    changes = Changes({"vda": "/img/new.qcow2"}, {"br0": "br-lan"})
    for work in (parse_domain, lambda text: at_target(text, changes), read_taps, is_guarded):
        with suppress(BadDocument):
            work(xml)


@QUICK
@given(xml_like(NAT) | cut_up(NAT))
def test_a_changed_network_is_read_or_refused(xml: str) -> None:
    with suppress(BadDocument):
        portable(xml, True)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 5, 20_000])
def test_a_definition_too_deep_for_us_is_refused(depth: int) -> None:
    """What writes elements out recurses: it met the end of the stack at 1,000 levels."""
    deep = "<x>" * depth + "</x>" * depth
    xml = FULL.replace("<model fallback", f"{deep}<model fallback")
    for work in (parse_xml, parse_domain, lambda text: guarded(text, "kvm-a")):
        with pytest.raises(BadDocument, match="levels"):
            work(xml)


def test_a_wide_definition_is_read() -> None:
    disks = "<disk><source file='/i'/><target dev='x'/></disk>" * 2000
    assert len(parse_domain(FULL.replace("</devices>", f"{disks}</devices>")).disks) == 2005


def test_sizes_beyond_all_machines_can_be_published() -> None:
    xml = FULL.replace("<memory unit='GiB'>4<", f"<memory unit='TiB'>{'9' * 18}<")
    read_as_the_engine_does(xml)


# -- libvirt's and QEMU's figures ------------------------------------------------------------


@EXAMPLES
@given(json_like(LATER_PASS | ENDED | DOMSTATS), json_like(DOMSTATS), st.floats(-9, 9))
def test_any_statistics_are_read(raw: Any, before: Any, elapsed_s: float) -> None:
    previous = vm_statistics(before)
    for found in (
        job_sample(raw, 1.0, 3),
        completed(raw),
        job_progress(raw),
        vm_statistics(raw, previous, elapsed_s),
        dirty_rate(raw),
    ):
        msgspec.json.decode(msgspec.json.encode(found))


@QUICK
@given(values | st.dictionaries(texts, st.dictionaries(st.just("addrs"), values)))
def test_any_addresses_are_read(answer: Any) -> None:
    read_addresses(answer)


WORDS = st.sampled_from(["net", "up", "cpu", "cpus", "total", "free"])
WHOLE = st.sampled_from(["up 1.0", "cpu 1 2 3 4 5 6 7 8", "cpus 2", "total 5", "free 1"])


@QUICK
@given(st.lists(WHOLE | st.tuples(WORDS, texts).map(" ".join), max_size=9))
def test_any_load_is_read_or_refused(lines: list[str]) -> None:
    lines = [line for line in lines if line.strip()]
    with suppress(BadDocument):
        now = parse_block(lines)
        facts_between(now, now)


INFO = [
    {
        "filename": "/img/a.qcow2",
        "format": "qcow2",
        "virtual-size": 1 << 30,
        "actual-size": 1 << 20,
        "snapshots": [{"id": "1", "name": "a", "vm-state-size": 0}],
        "format-specific": {"type": "qcow2", "data": {"compat": "1.1"}},
    }
] * 2
STAMP = FileStamp(False, 1, 1, 1, "now")


@EXAMPLES
@given(json_like(INFO), json_like({"corruptions": 1, "leaks": 2, "check-errors": 0}))
def test_what_qemu_img_says_is_read_or_refused(info: Any, check: Any) -> None:
    with suppress(BadDocument):
        parse_facts("kvm-a", json.dumps(info), STAMP)
    with suppress(BadDocument):
        parse_check("kvm-a", json.dumps(check))


@pytest.mark.parametrize("text", ["[" * 100_000, "Infinity", '{"leaks": Infinity}', '[{"a":1}', ""])
def test_odd_json_is_refused(text: str) -> None:
    for read in (lambda: parse_facts("a", text, STAMP), lambda: parse_check("a", text)):
        with pytest.raises(BadDocument):
            read()
    assert not isinstance(parse_message(text), list)


@QUICK
@given(cut_up('{"return": {}, "id": 1}') | texts)
def test_any_line_of_qemu_is_a_message_or_none(line: str) -> None:
    assert isinstance(parse_message(line), dict | None)


class Reading:
    """A storage daemon that answers anything."""

    host = "kvm-a"
    over = False

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.on_event: Any = None

    async def call(self, *_: Any, **__: Any) -> Any:
        return self._answer


@QUICK
@given(json_like([{"id": "copy", "status": "running", "current-progress": 5}]))
async def test_any_answer_about_a_copy_is_read_or_refused(answer: Any) -> None:
    reading: Any = Reading(answer)
    job = CopyJob(reading, reading, "/a", "/b")
    with suppress(FerryError):
        found = await job._job()
        assert isinstance(found["current-progress"], int)
    job._take({"event": "BLOCK_JOB_ERROR", "data": answer})


# -- files of ours ---------------------------------------------------------------------------

FLEET = """
name = "rack 7"
ssh_config = "~/.ssh/config"
[hosts.kvm-a]
ssh = "root@kvm-a:22"
migrate_uri = "qemu+tls://kvm-a/system"
[hosts.kvm-b]
uri = "qemu+tls://kvm-b/system?pkipath=/x"
tls = "off"
[policies.night]
base = "balanced"
pause_ms = 1000
deadline_s = 3600.5
streams = 2
"""


def policies_of(fleet: config.FleetSettings) -> tuple[Policy, ...]:
    return own_policies(fleet.policy_tables, {one.name: one for one in BUILT_IN}, fleet.path)


@EXAMPLES
@given(cut_up(FLEET))
def test_a_changed_fleet_file_is_read_or_refused(text: str) -> None:
    with suppress(BadInput):
        fleet = config.parse(text, Path("/etc/fleet.toml"))
        hash(fleet)
        assert all(isinstance(one, Policy) for one in policies_of(fleet))


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "9" * 5000,
        'ssh_config = "~nobody-of-that-name/x"\n[hosts.a]\nssh = "a"\n',
        '[hosts.a]\nssh = "a"\n[policies.x]\npause_ms = nan\n',
        '[hosts.a]\nssh = "a"\n[policies.x]\ndeadline_s = inf\n',
        '[hosts.a]\nuri = "qemu+tls://[::1/system"\n',
        '[hosts.a]\nuri = "qemu+tls://kvm-a:port/system"\n',
    ],
)
def test_an_odd_fleet_file_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        policies_of(config.parse(text, Path("/etc/fleet.toml")))


def test_a_file_of_an_impossible_name_is_refused() -> None:
    for name in ("a\0b", "x" * 5000, "/proc/self/mem"):
        with pytest.raises(BadInput):
            config.load(Path(name))


def recorded_migration() -> Migration:
    changes = (one.change for one in reversed(load("cache-abort")))
    return next(one.migration for one in changes if isinstance(one, MigrationChanged))


MIGRATION = recorded_migration()
KEPT = msgspec.to_builtins(MIGRATION)


@QUICK
@given(json_like(KEPT).map(lambda one: json.dumps(one)) | cut_up(json.dumps(KEPT)))
def test_a_changed_open_move_is_read_or_left_out(tmp_path_factory: Any, text: str) -> None:
    directory = tmp_path_factory.getbasetemp() / "open"
    directory.mkdir(exist_ok=True)
    (directory / f"{MIGRATION.id}.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    for found in OpenMoves(directory).found():
        assert found.id == MIGRATION.id


def test_an_open_move_cannot_name_another_file(tmp_path: Path) -> None:
    kept = msgspec.json.encode(KEPT | {"id": "../../x"})
    (tmp_path / "a.json").write_bytes(kept)
    (tmp_path / "b.json").mkdir()
    (tmp_path / "c.json").write_bytes(b"[" * 100_000)
    assert OpenMoves(tmp_path).found() == ()


PAST = {
    "uuid": "u",
    "source": "a",
    "target": "b",
    "ended": 1.0,
    "moved": True,
    "mode": "live",
    "total_s": 9.0,
    "pause_ms": 80,
    "pause_limit_ms": 100,
    "passes": [[1.0, 5.0], [2.0, 9.0]],
    "empty_bytes": 5.0,
    "link_bytes_s": 1.0,
    "forecast_s": {"low": 1.0, "mid": 2.0, "high": 3.0},
    "forecast_pause_ms": None,
    "changed_by_hand": False,
}


@QUICK
@given(st.lists(json_like(PAST).map(json.dumps) | cut_up(json.dumps(PAST)), max_size=4))
def test_a_changed_history_is_read_or_left_out(tmp_path_factory: Any, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "history.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    history = History(path)
    history.past_of("u")
    history.pauses_ms("b")
    history.record()


# -- the protocol ----------------------------------------------------------------------------

HELLO = json.loads(encode(Hello(4, "1", None, "/x")))
CALL = json.loads(
    '{"seq": 1, "request": {"type": "Start", "vms": ["a"], "target": "b",'
    ' "options": {"pause_ms": 5, "disks": [{"target": "vda", "pool": "p"}]}}}'
)
ANSWER = json.loads(encode(Publish(next(one.change for one in load("web") if one.change))))


@EXAMPLES
@given(json_like(HELLO).map(json.dumps) | cut_up(json.dumps(HELLO)) | texts)
def test_any_greeting_is_understood_or_refused(line: str) -> None:
    with suppress(BadInput):
        _checked_hello(line.encode("utf-8", "surrogatepass"))


@EXAMPLES
@given(json_like(CALL).map(json.dumps) | cut_up(json.dumps(CALL)) | texts)
def test_any_call_is_understood_or_not_one(line: str) -> None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        assert isinstance(decode_call(line.encode("utf-8", "surrogatepass")), Call)


@QUICK
@given(json_like(ANSWER).map(json.dumps) | cut_up(json.dumps(ANSWER)))
def test_any_word_of_an_engine_is_understood_or_not_one(line: str) -> None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        decode_from_engine(line.encode("utf-8", "surrogatepass"))
