"""Names that mean harm, where they become commands, documents and paths: each stays what it is."""

import posixpath
import re
import shlex
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from backend.errors import BadDocument, BadInput, virsh_name, virsh_word, word
from backend.fleet.config import HOST_NAME
from backend.hypervisor.block_copy import virsh_lines
from backend.hypervisor.domain_xml import parse_domain
from backend.hypervisor.migrate import MigrationOrder, offline_line, virsh_line
from backend.hypervisor.networks import portable
from backend.hypervisor.pools import pool_xml
from backend.hypervisor.target_xml import Changes, at_target, guarded, is_guarded, unguarded
from backend.hypervisor.volumes import volume_xml
from backend.model import (
    Disk,
    DiskAction,
    DiskChoice,
    DiskMove,
    Finding,
    Job,
    MoveOptions,
    NetworkChoice,
    Nic,
    VmState,
)
from backend.plan.disks import disk_cases, why_not_copied
from backend.plan.facts import DiskProof, Held, PoolFacts, Reach, ReachProblem, Survey
from backend.plan.preflight import preflight
from backend.remote.probes import probe_bridge
from backend.remote.shell import CommandResult, LocalShell, run_script
from backend.run.asked import checked
from backend.run.old_images import not_removed
from backend.run.verdict import Before, End, judge
from tests.hostile import ALL_AT_ONCE, names, texts
from tests.unit import test_disks, test_preflight
from tests.unit.test_domain_xml import FULL
from tests.unit.test_preflight import GOOD

FEW = settings(max_examples=25)
MANY = settings(max_examples=100)
UUID = "6695eb01-f6a4-8304-79aa-97f2502e193f"
in_shells = names.filter(lambda text: "\0" not in text and "\ud800" not in text)
in_xml = in_shells.filter(lambda text: not re.search("[\x00-\x08\x0b-\x1f\ufffe\uffff]", text))


# -- shells ----------------------------------------------------------------------------------


@FEW
@given(in_shells)
@example(ALL_AT_ONCE.replace("\0", ""))
@example("-e")
@example("")
def test_a_name_is_one_word_of_a_command(name: str) -> None:
    script = f"printf '%s|' x {word(name)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"x|" + name.encode() + b"|"
    assert word(name).isprintable()


@FEW
@given(st.lists(in_shells, max_size=3))
@example([ALL_AT_ONCE.replace("\0", ""), "-n", "--"])
async def test_an_argument_of_a_script_stays_one(arguments: list[str]) -> None:
    """As over SSH: one command line for a login shell, the script on standard input."""
    done = await run_script(LocalShell(), 'printf \'%s|\' "$#" "$@"\n', *arguments)
    # A carriage return comes back as it went: nothing is translated.
    assert done.stdout == "".join(f"{one}|" for one in (str(len(arguments)), *arguments))


@MANY
@given(texts)
@example("7")
@example(" 7")
@example(UUID)
@example(UUID.replace("-", ""))
@example("--config")
@example("db-1\u200b")
def test_a_vm_that_virsh_would_take_for_another_goes_by_its_uuid(name: str) -> None:
    found = virsh_name(name, "the-uuid")
    assert found in (name, "the-uuid")
    assert found.isprintable()
    assert not found.startswith("-")
    assert not found.strip().isdigit()
    assert found == "the-uuid" or not re.fullmatch(r"[0-9a-fA-F-]{32,}", found)
    assert virsh_word(name, "the-uuid") == word(found)
    assert shlex.split(virsh_word(name, "the-uuid")) == [found]


@MANY
@given(texts, in_shells)
def test_the_equal_virsh_line_is_one_command(name: str, path: str) -> None:
    order = MigrationOrder(UUID, name, "qemu+tls://kvm-b/system", copy_disks=(path or "vda",))
    vm = virsh_name(name, UUID)
    words = shlex.split(virsh_line(order, "qemu+ssh://kvm-a/system"))
    assert words[:4] == ["virsh", "-c", "qemu+ssh://kvm-a/system", "migrate"]
    assert words[-2:] == [vm, order.target_uri]
    assert path in words or not path
    assert vm in shlex.split(offline_line(order, "qemu:///system"))
    assert path in shlex.split(virsh_lines("qemu:///system", vm, {"vda": (path, "raw")}, None))


HARM = "a b$(touch PWNED)`id`;'x\""
"""Printable, so that it is not replaced by the UUID."""


def unquoted(text: str) -> str:
    """What is left of a sentence's commands when its quoted words are taken out."""
    return text.replace(word(HARM), "").replace(word(f"{HARM}={HARM}"), "")


def harmed() -> list[Survey]:
    """Everything that can be complained of with a command in the remedy, of names that harm."""
    vm = replace(GOOD.vm, name=HARM)
    good = replace(GOOD, vm=vm)
    disk = Disk(HARM, device="cdrom", source=f"/{HARM}", read_only=True)
    volume = Disk(HARM, kind="volume", source=f"{HARM}/x", pool=HARM, format="qcow2")
    assert good.definition is not None

    def of(disk: Disk, **more: object) -> Survey:
        assert good.definition is not None
        proofs = {HARM: DiskProof(True, at_target=False)}
        definition = replace(good.definition, disks=(disk,))
        return replace(good, definition=definition, disks=proofs, **more)  # type: ignore[arg-type]

    def on(nic: Nic, **more: object) -> Survey:
        assert good.definition is not None
        missing = {f"{nic.kind} {nic.source}": False}
        definition = replace(good.definition, nics=(nic,))
        return replace(good, definition=definition, attachments=missing, **more)  # type: ignore[arg-type]

    off = PoolFacts(HARM, active=False, path="/p")
    full = PoolFacts(HARM, path="/p", available_bytes=2**50)
    local = test_disks.survey(
        replace(test_disks.VDA, target=HARM, source=f"/p/{HARM}"), target_pools=(full,)
    )
    paused = replace(vm, state=VmState.PAUSED)
    return [
        replace(good, io_error=True),
        replace(good, vm=paused, io_error=True),
        replace(good, vm=replace(vm, job=Job("save"))),
        replace(good, snapshots=1, checkpoints=1, managed_save=True),
        *(replace(good, held=one, held_uuid=UUID) for one in Held),
        *(replace(good, reach=Reach(one, HARM)) for one in ReachProblem),
        of(disk),
        of(volume, target_pools=()),
        of(volume, target_pools=(off,)),
        of(volume, target_pools=(replace(off, active=True),)),
        on(Nic("m", "network", HARM)),
        on(Nic("m", "bridge", HARM)),
        replace(local, occupied=frozenset({f"/p/{HARM}"})),
        replace(local, choices=(DiskChoice(HARM, HARM),), target_pools=(off,)),
        replace(local, choices=(DiskChoice(HARM, HARM),), target_pools=(test_disks.FAST,)),
    ]


@pytest.mark.parametrize("survey", harmed())
def test_a_command_in_a_remedy_quotes_every_name(survey: Survey) -> None:
    told: list[Finding] = list(preflight(survey))
    assert told
    for one in told:
        for part in re.split(r"virsh ", one.remedy)[1:]:
            assert "touch" not in unquoted(part), one.remedy


def test_these_surveys_do_have_commands_with_the_name_in_them() -> None:
    told = [one.remedy for survey in harmed() for one in preflight(survey)]
    assert sum(word(HARM) in one for one in told) >= 12


def test_a_command_in_a_verdict_quotes_the_name() -> None:
    states = (VmState.RUNNING, VmState.PAUSED, VmState.SHUT_OFF)
    before = Before(HARM, "src", "dst", True, uuid=UUID)
    told = []
    for here in states:
        for there in states:
            judged = judge(before, _end("src", here), _end("dst", there))
            told += [judged.reason, *judged.leftovers]
    told.append(not_removed("src", replace(_move(), source=f"/p/{HARM}"), "busy"))
    commands = [part for text in told for part in re.split(r"(?:virsh|: rm) ", text)[1:]]
    assert commands
    for part in commands:
        assert "touch" not in part.replace(word(HARM), "").replace(word(f"/p/{HARM}"), "")


def _end(host: str, state: VmState) -> End:
    return End(host, defined=True, active=state is not VmState.SHUT_OFF, state=state)


def _move() -> DiskMove:
    (case,) = disk_cases(test_disks.survey())
    return case.move


class Listening(LocalShell):
    """Remembers what it was asked to run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run(
        self, command: str, timeout_s: float = 10.0, input: str | None = None
    ) -> CommandResult:
        self.ran.append(command)
        return CommandResult(0, "", "")


@pytest.mark.parametrize(
    "bridge", ["--log-file=x", "-v", "../../etc", "a/b", "..", ".", "", "a b", "x" * 16, "a\nb"]
)
async def test_what_no_bridge_can_be_called_is_asked_of_nobody(bridge: str) -> None:
    """Open vSwitch's tool would take a name that begins with a dash for an option."""
    shell = Listening()
    assert await probe_bridge(shell, bridge) is False
    assert shell.ran == []
    assert await probe_bridge(shell, "br-lan.10") is True
    assert len(shell.ran) == 1


# -- documents -------------------------------------------------------------------------------


def shape(xml: str) -> list[str]:
    """The elements of a document, in order."""
    return [element.tag for element in ElementTree.fromstring(xml).iter()]


@MANY
@given(in_xml, in_xml, st.sampled_from(("raw", "qcow2")))
def test_a_name_cannot_leave_its_element(name: str, path: str, format: str) -> None:
    pool = pool_xml(name, path)
    assert shape(pool) == ["pool", "name", "target", "path"]
    assert _text(pool, "name") == name
    assert _text(pool, "target/path") == path
    assert shape(volume_xml(name, format, 5)) == shape(volume_xml("x", format, 5))
    assert _text(volume_xml(name, format, 5), "name") == name


def _text(xml: str, path: str) -> str:
    return ElementTree.fromstring(xml.replace("\r", "&#13;")).findtext(path) or ""


@MANY
@given(in_xml, in_xml)
@example("x' y='1", "br0")
def test_a_new_path_or_network_is_a_value_and_nothing_else(path: str, network: str) -> None:
    changes = Changes({"vda": path}, {"br0": network})
    if not (path.isprintable() and network.isprintable()):
        with pytest.raises(BadInput):
            at_target(FULL, changes)
        return
    assume(path and network)
    made = at_target(FULL, changes)
    plain = at_target(FULL, Changes({"vda": "/x"}, {"br0": "b"}))
    assert shape(made) == shape(plain)
    root = ElementTree.fromstring(made)
    source = root.find("devices/disk/source")
    bridge = root.find("devices/interface/source")
    assert source is not None
    assert bridge is not None
    assert source.get("file") == path
    assert bridge.get("bridge") == network


@MANY
@given(st.from_regex(HOST_NAME, fullmatch=True))
def test_a_guarded_definition_comes_back_as_it_was(host: str) -> None:
    xml = FULL.replace("<name>db-1</name>", "<name>db &lt;1&gt; &amp;amp;</name>")
    made = guarded(xml, host)
    assert is_guarded(made)
    assert not is_guarded(unguarded(made))
    assert shape(unguarded(made)).count("kernel") == 1
    assert parse_domain(unguarded(made)) == parse_domain(xml)


@MANY
@given(in_xml)
def test_a_network_of_any_name_stays_one_network(name: str) -> None:
    root = ElementTree.Element("network")
    ElementTree.SubElement(root, "name").text = name
    try:
        made = portable(ElementTree.tostring(root, "unicode"), autostart=False)
    except BadDocument:
        return
    assert made is None or shape(made.xml) == ["network", "name"]


# -- names that look alike, and paths --------------------------------------------------------


@MANY
@given(in_xml.filter(lambda text: text.strip(" \t\r\n") != ""))
@example("/img/a  b.img")
@example("/img/a\u200bb.img")
@example("/img/\u202egmi.a")
@example(" /img/a")
def test_a_path_is_taken_as_it_is_or_fits_no_file(path: str) -> None:
    """Tidied up it could be another VM's image."""
    xml = ElementTree.fromstring(FULL)
    source = xml.find("devices/disk/source")
    assert source is not None
    source.set("file", path)
    read = parse_domain(ElementTree.tostring(xml, "unicode")).disks[0].source
    assert read == path or (read is not None and "\ufffd" in read)


@MANY
@given(names.map(lambda name: f"/img/{name}"))
@example("/img/..")
@example("/img/.")
@example("/img/")
@example("/img/a\ufffdb")
def test_a_copy_lies_in_its_pool_or_is_refused(source: str) -> None:
    survey = test_disks.survey(replace(test_disks.VDA, source=source))
    (case,) = disk_cases(survey)
    move = case.move
    if move.action is not DiskAction.COPY:
        assert why_not_copied(survey, case.disk)
        return
    assert move.volume
    assert move.destination
    assert "/" not in move.volume
    assert posixpath.normpath(move.destination) == move.destination
    assert posixpath.dirname(move.destination) == "/var/lib/libvirt/images"


@MANY
@given(names)
@example("..")
@example("a/b")
@example("-x")
def test_what_an_operator_names_is_a_name_or_refused(name: str) -> None:
    for options in (
        MoveOptions(disks=(DiskChoice("vda", "pool", name),)),
        MoveOptions(disks=(DiskChoice("vda", name),)),
        MoveOptions(networks=(NetworkChoice("br0", name),)),
    ):
        try:
            checked(options, 0.0)
        except BadInput:
            continue
        assert name.isprintable()
        assert "/" not in name
        assert name not in (".", "..")
        assert not name.startswith("-")


def test_these_tests_have_their_good_case() -> None:
    assert test_preflight.blocks(GOOD) == []
