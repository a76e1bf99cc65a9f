"""The examination on a screen, and the alarm on top of every one."""

import pytest

from backend.model import Alarm, Examination, FleetFinding, FleetSnapshot, Grade
from backend.service.client import EngineUnavailable
from backend.service.protocol import Examine, Examined, FleetChanged
from tests.console.conftest import Console, Open
from tui.screens.doctor import DoctorScreen
from tui.screens.fleet import FleetScreen

WELL = FleetFinding("jobs-ok", "jobs", Grade.OK, (), "every migration has both its ends")
REMARK = FleetFinding("versions-differ", "versions", Grade.REMARK, (), "the versions differ")
BAD = FleetFinding(
    "limit-pause",
    "limits",
    Grade.MEND,
    ("kvm-a",),
    "[b]db-1[/b] on kvm-a has a pause limit of 777 ms and does not move",
    "On kvm-a: virsh migrate-setmaxdowntime u-1 300",
)
WORST = FleetFinding(
    "vm-runs-twice", "vms", Grade.ALARM, ("kvm-a", "kvm-b"), "web-1 RUNS TWICE", "Decide."
)
FOUND = Examined(Examination((WELL, REMARK, BAD, WORST), 1_790_000_000.0, 4.2))
ALARM = Alarm(
    "db-1",
    "u-1",
    ("kvm-a", "kvm-b"),
    "db-1 RUNS TWICE: on kvm-a and on kvm-b at once. Each copy writes to its disks.",
    "End the other there: virsh destroy u-1.",
)


async def sound(c: Console, *alarms: Alarm) -> None:
    fleet: FleetSnapshot = c.app.store.fleet
    await c.publish(FleetChanged(fleet.name, alarms=alarms))


async def test_the_worst_comes_first_with_what_to_do(console: Open) -> None:
    async with console("idle") as c:
        c.link.answers[Examine] = FOUND
        await c.press("D")
        assert isinstance(c.screen, DoctorScreen)
        rows = c.box("findings").splitlines()
        assert rows[0].split() == ["✕", "vms", "web-1", "RUNS", "TWICE"]
        assert rows[1].strip() == "Decide."
        assert "[b]db-1[/b] on kvm-a has a pause limit" in rows[2]
        assert rows[3].strip() == BAD.remedy
        assert [row.split()[1] for row in rows[5:]] == ["jobs", "versions"]
        assert "1 alarm · 1 to mend · 1 remark · 1 well, in 4.2 s" in c.text


async def test_it_examines_again_when_told_and_goes_back(console: Open) -> None:
    async with console("idle") as c:
        c.link.answers[Examine] = FOUND
        await c.press("D", "r")
        assert len(c.asked(Examine)) == 2
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)


async def test_what_the_engine_refuses_is_said_and_the_key_works_again(console: Open) -> None:
    async with console("idle") as c:
        c.link.answers[Examine] = EngineUnavailable("The engine is gone.", "It comes back.")
        await c.press("D")
        assert "The engine is gone. It comes back." in c.text
        c.link.answers[Examine] = FOUND
        await c.press("r")
        assert "web-1 RUNS TWICE" in c.text


async def test_a_narrow_terminal_wraps_and_loses_no_word(console: Open) -> None:
    async with console("idle", size=(80, 24)) as c:
        c.link.answers[Examine] = FOUND
        await c.press("D")
        said = " ".join(c.box("findings").split())
        assert f"limits {BAD.sentence} {BAD.remedy}" in said


async def test_it_is_in_the_help_and_the_palette(console: Open) -> None:
    async with console("idle") as c:
        await c.press("question_mark")
        assert "Examine hosts, VMs" in c.text


@pytest.mark.parametrize("keys", [(), ("M",), ("question_mark",), ("m",), ("D",)])
async def test_an_alarm_is_on_top_of_every_screen_until_it_is_gone(
    console: Open, keys: tuple[str, ...]
) -> None:
    async with console("idle") as c:
        c.link.answers[Examine] = FOUND
        await c.press(*keys)
        before = c.text
        await sound(c, ALARM)
        assert c.text.splitlines()[0].startswith(" ✕ db-1 RUNS TWICE: on kvm-a and on kvm-b")
        assert "virsh destroy u-1" in " ".join(c.text.split())
        assert before.splitlines()[0].split()[0] in c.text, "the title is below it"
        await sound(c)
        assert c.text.splitlines()[0] == before.splitlines()[0]


async def test_a_screen_opened_during_an_alarm_has_it_too(console: Open) -> None:
    async with console("idle") as c:
        await sound(c, ALARM)
        for keys in (("M",), ("question_mark",), ("escape",), ("escape",)):
            await c.press(*keys)
            assert c.text.startswith(" ✕ db-1 RUNS TWICE")


async def test_many_alarms_leave_room_for_the_screen(console: Open) -> None:
    async with console("idle", size=(80, 24)) as c:
        await sound(c, *(Alarm(f"vm-{n}", f"u-{n}", (), "x" * 90, "y") for n in range(20)))
        top = c.text.splitlines()
        assert top[0].startswith(" ✕ 20 VMs RUN TWICE: vm-0, vm-1")
        assert any("HOSTS" in row for row in top[:9])


async def test_an_alarm_stays_while_the_engine_is_gone(console: Open) -> None:
    async with console("idle") as c:
        await sound(c, ALARM)
        await c.link.lose(EngineUnavailable("The engine is gone."))
        await c.settle()
        assert c.text.startswith(" ✕ db-1 RUNS TWICE")
