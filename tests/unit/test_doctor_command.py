"""`doctor` and the alarm on the command line: lines, JSON, exit codes."""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from backend.model import (
    Alarm,
    Examination,
    FleetFinding,
    FleetSnapshot,
    Grade,
    Host,
    HostState,
)
from backend.service.protocol import (
    Examine,
    Examined,
    FleetChoice,
    FleetReply,
    GetFleet,
    Reply,
    Request,
)
from tui.commands import doctor, fleet

WELL = FleetFinding("jobs-ok", "jobs", Grade.OK, (), "every migration has both its ends")
BAD = FleetFinding(
    "vm-stale-definition",
    "vms",
    Grade.MEND,
    ("kvm-b", "kvm-a"),
    "kvm-b holds a stale definition of d\x1b[31mb-1",
    "On kvm-b: virsh undefine u-1",
    "d\x1b[31mb-1",
)


class Engine:
    """Answers every call with the same."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[Request] = []

    async def call(self, request: Request) -> Reply:
        self.asked.append(request)
        return self.reply


def answering(monkeypatch: pytest.MonkeyPatch, module: object, reply: Reply) -> Engine:
    engine = Engine(reply)

    @asynccontextmanager
    async def connected(_: FleetChoice) -> AsyncIterator[Engine]:
        yield engine

    monkeypatch.setattr(module, "connected", connected)
    return engine


def options(as_json: bool = False) -> argparse.Namespace:
    return argparse.Namespace(json=as_json)


@pytest.mark.parametrize(
    ("grades", "code"),
    [
        ((), 0),
        ((Grade.OK, Grade.REMARK), 0),
        ((Grade.REMARK, Grade.MEND, Grade.OK), 1),
        ((Grade.MEND, Grade.ALARM, Grade.OK), 3),
    ],
)
async def test_the_worst_finding_gives_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, grades: tuple[Grade, ...], code: int
) -> None:
    findings = tuple(FleetFinding("c", "vms", grade, (), "s") for grade in grades)
    engine = answering(monkeypatch, doctor, Examined(Examination(findings, 1.0, 2.0)))
    assert await doctor.doctor(options(), FleetChoice()) == code
    assert engine.asked == [Examine()]


async def test_lines_say_what_is_wrong_and_what_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, doctor, Examined(Examination((BAD, WELL), 1.0, 4.21)))
    await doctor.doctor(options(), FleetChoice())
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == "! vms          kvm-b holds a stale definition of d�[31mb-1"
    assert second.strip() == "→ On kvm-b: virsh undefine u-1"
    assert third == "✓ jobs         every migration has both its ends"
    assert last == "1 to mend · 1 well, in 4.2 s"


async def test_json_is_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, doctor, Examined(Examination((BAD, WELL), 1.0, 4.21)))
    assert await doctor.doctor(options(as_json=True), FleetChoice()) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["worst"], told["took_s"], told["at"]) == ("mend", 4.21, 1.0)
    assert told["findings"][0] == {
        "code": "vm-stale-definition",
        "check": "vms",
        "grade": "mend",
        "hosts": ["kvm-b", "kvm-a"],
        "sentence": BAD.sentence,
        "remedy": BAD.remedy,
        "vm": BAD.vm,
    }


async def test_vms_tells_of_an_alarm_on_stderr_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alarm = Alarm("db-1", "u-1", ("kvm-a", "kvm-b"), "db-1 RUNS TWICE.", "End one\x1b[0m.")
    up = (Host("kvm-a", HostState.UP),)
    engine = answering(monkeypatch, fleet, FleetReply(FleetSnapshot("f", up, (), (alarm,))))
    assert await fleet.vms(options(as_json=True), FleetChoice()) == 3
    told = capsys.readouterr()
    assert json.loads(told.out) == []
    assert told.err == "virt-ferry: db-1 RUNS TWICE. End one�[0m.\n"
    engine.reply = FleetReply(FleetSnapshot("f", up))
    assert await fleet.vms(options(), FleetChoice()) == 0
    assert capsys.readouterr().err == ""
    assert isinstance(engine.asked[0], GetFleet)
