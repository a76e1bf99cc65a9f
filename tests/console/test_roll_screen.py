"""Several hosts one after the other: where that is, what stopped it, and the keys that go on."""

from dataclasses import replace

import pytest

from backend.model import (
    EvacuationState,
    HookEnd,
    HostState,
    Roll,
    RollControl,
    RollHost,
    RollState,
    RollStep,
)
from backend.plan import roll_course as course
from backend.service.client import BadInput
from backend.service.protocol import EvacuationChanged, FleetChanged, RollChanged, SteerRoll
from tests.console import rolls
from tests.console.conftest import Console, Open
from tests.hostile import ALL_AT_ONCE, obeyed, spoilt
from tui.screens.evacuation import EvacuationScreen
from tui.screens.fleet import FleetScreen
from tui.screens.roll import RollScreen

SIZES = [(80, 24), (120, 36), (200, 50)]


async def tell(c: Console, roll: Roll) -> None:
    await c.publish(RollChanged(roll))


async def opened(c: Console, roll: Roll) -> RollScreen:
    await tell(c, roll)
    await c.press("r")
    assert isinstance(c.screen, RollScreen)
    return c.screen


def flat(c: Console) -> str:
    return " ".join(c.text.split())


def sent(c: Console) -> list[RollControl]:
    return [one.control for one in c.asked(SteerRoll)]


def with_host(roll: Roll, **fields: object) -> Roll:
    host = roll.current
    assert host is not None
    return course.set_host(roll, replace(host, **fields))  # type: ignore[arg-type]


# -- the way in ----------------------------------------------------------------------------------


async def test_without_a_roll_it_says_how_one_begins(console: Open) -> None:
    async with console("web") as c:
        assert "r rolls" not in c.text
        await c.press("r")
        assert isinstance(c.screen, RollScreen)
        assert "no hosts have been rolled" in c.text
        assert "virt-ferry roll HOST… --hook COMMAND" in c.text
        for key in ("enter", "p", "x", "a"):
            await c.press(key)
            assert "There is no roll" in c.text
        assert not sent(c)
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)


async def test_a_roll_that_begins_meanwhile_appears(console: Open) -> None:
    async with console("web") as c:
        await c.press("r")
        await tell(c, rolls.emptied_now(c.link.clock()))
        assert "EMPTYING  kvm-b" in c.text
        await c.press("p")
        assert sent(c) == [RollControl.PAUSE]


@pytest.mark.parametrize("size", SIZES)
async def test_the_fleet_screen_has_one_line_of_it_while_it_is_open(
    console: Open, size: tuple[int, int]
) -> None:
    async with console("web", size=size) as c:
        rows = c.table("vms").size.height
        now = c.link.clock()
        await tell(c, rolls.emptied_now(now))
        assert "ROLL EMPTYING kvm-b for 1 m 10 s" in flat(c)
        assert "1 of 3 hosts done ─ r shows it" in c.text
        assert "r rolls" in c.text
        assert c.table("vms").size.height >= rows - 2
        await tell(c, rolls.your_turn(now))
        assert "ROLL YOUR TURN kvm-b is empty" in flat(c)
        await tell(c, rolls.stopped(now))
        assert "ROLL STOPPED kvm-b: hook, 19 s ago" in flat(c)
        assert "The roll is stopped. The hook on kvm-b ended with exit code 100" in flat(c)
        await tell(c, course.ended(rolls.stopped(now), now))
        assert "r shows it" not in c.text
        assert "r rolls" in c.text


# -- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roll", "says"),
    [
        (rolls.roll(0.0, RollStep.WAITING), ("BEGINNING kvm-b", "◌ about to begin")),
        (
            rolls.emptied_now(0.0),
            ("EMPTYING kvm-b for 1 m 10 s: it is being planned", "⇢ emptying"),
        ),
        (
            rolls.roll(0.0, RollStep.HOOK, hook_began=-30.0),
            ("HOOK RUNS kvm-b for 30 s; after 30 m 00 s the roll stops", "● runs", "empty ✓"),
        ),
        (
            rolls.roll(0.0, RollStep.BACK, hook=HookEnd(None, 4.0)),
            ("COMING BACK kvm-b for 1 m 10 s; after 15 m 00 s", "? cut off", "hook ✓ ── back ●"),
        ),
        (
            rolls.roll(0.0, RollStep.RETURNING, left=("x",)),
            ("RETURNING kvm-b for 1 m 10 s", "⇠ VMs come home", "0 of 1 home"),
        ),
        (
            replace(rolls.emptied_now(0.0), state=RollState.PAUSED),
            ("PAUSED nothing new is begun; emptying: kvm-b", "p goes on · a ends the roll"),
        ),
        (
            replace(rolls.emptied_now(0.0), aborted=True),
            ("TO BE ENDED nothing new is begun", "kvm-c"),
        ),
        (
            course.found_again(rolls.roll(0.0, RollStep.HOOK, hook_began=-30.0), {"kvm-b"}),
            ("INTERRUPTED The engine ended while the hook ran", "? not known", "p runs the hook"),
        ),
        (
            replace(rolls.stopped(0.0), needs_you=True),
            ("NEEDS YOU", "p runs the hook again", "✕ STOPPED"),
        ),
        (
            course.ended(rolls.roll(0.0, done=3), 0.0),
            ("DONE 3 of 3 hosts done in 30 m 00 s", "ended", "esc back"),
        ),
        (
            course.ended(replace(rolls.stopped(0.0), trouble="Left to do: `that`."), 0.0),
            ("ENDED EARLY 1 of 3 hosts done", "Left to do: `that`.", "– hook"),
        ),
    ],
)
async def test_each_state_is_one_word_and_what_it_is_about(
    console: Open, roll: Roll, says: tuple[str, ...]
) -> None:
    async with console("web", size=(80, 24)) as c:
        c.link.clock.now = 0.0
        await opened(c, roll)
        said = flat(c)
        assert [one for one in says if one not in said] == [], c.text


async def test_a_host_that_is_waited_for_says_what_is_seen_of_it(console: Open) -> None:
    async with console("web") as c:
        host = replace(c.app.store.fleet.hosts[1], state=HostState.UNREACHABLE, reason="no route")
        await c.publish(FleetChanged(hosts=(host,)))
        await opened(c, rolls.roll(c.link.clock(), RollStep.BACK))
        assert "the roll stops. Now: no route" in flat(c)


@pytest.mark.parametrize("size", SIZES)
async def test_a_stopped_roll_says_why_what_is_true_and_what_to_press(
    console: Open, size: tuple[int, int]
) -> None:
    async with console("web", size=size) as c:
        vm = next(vm for vm in c.app.store.fleet.vms if vm.host == "kvm-c")
        await opened(c, with_host(rolls.stopped(c.link.clock()), left=(vm.uuid, "gone")))
        said = flat(c)
        for part in (
            "STOPPED at ",
            ", 19 s ago: The hook on kvm-b ended with exit code 100",
            "kvm-b is in maintenance, and empty; 2 VMs of it are on other hosts.",
            "Done: kvm-a. Not begun: kvm-c.",
            "p runs the hook again · x goes on without the hook · a ends the roll",
            "empty ✓ ── hook ✕ ── back ○ ── VMs home ○",
        ):
            assert part in said, (part, c.text)
        assert "virt-ferry rolls" not in said
        if size[1] > 24:
            assert f"away {vm.name} on kvm-c, 1 VM not seen anywhere now" in said
            assert rolls.FAILED.lines[0] in said


async def test_a_reason_that_is_too_long_is_whole_in_the_log(console: Open) -> None:
    async with console("web", size=(80, 24)) as c:
        words = " ".join(f"vm-{number}:" for number in range(200))
        await opened(c, replace(rolls.stopped(c.link.clock()), trouble=f"{words} THE END"))
        assert "…" in c.box("roll-now")
        assert "p runs the hook again" in c.text
        assert "esc leave it running" in c.text
        await c.press("tab", "G")
        assert "THE END" in c.text


async def test_of_twelve_the_one_whose_turn_it_is_is_seen_and_followed(console: Open) -> None:
    async with console("web", size=(80, 24)) as c:
        now = c.link.clock()
        await opened(c, rolls.of_twelve(now))
        table = c.table("rolled")
        assert table.size.height < 13
        assert "▸ node-07" in flat(c)
        assert "node-12" not in c.box("roll-now")
        await c.press("G")
        assert "▸ node-12 ○ waits" in flat(c)
        await c.press("g")
        assert "▸ node-01 ✓ done" in flat(c)
        assert "node-12 ○" not in flat(c)
        await tell(c, rolls.roll(now, hosts=rolls.TWELVE, done=7))
        assert table.cursor_key == "node-01"
        await c.press(*"jjjjjjj")
        assert table.cursor_key == "node-08"
        await tell(c, rolls.roll(now, hosts=rolls.TWELVE, done=8))
        assert table.cursor_key == "node-09"


async def test_rolls_that_ended_stay_to_be_seen(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        first = course.ended(replace(rolls.roll(now, done=3), id="o0"), now)
        await tell(c, first)
        await opened(c, rolls.emptied_now(now))
        assert "2 of 2" in c.text
        await c.press("right")
        assert "There is no newer roll." in c.text
        await c.press("left")
        assert "DONE  3 of 3 hosts done" in c.text
        await c.press("p")
        assert "The roll has ended" in c.text
        await c.press("left")
        assert "There is no older roll." in c.text
        await c.press("right")
        assert "EMPTYING  kvm-b" in c.text
        assert not sent(c)


# -- its evacuations and returns -----------------------------------------------------------------


async def test_enter_opens_the_run_that_the_host_is_in(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        await c.publish(EvacuationChanged(rolls.emptying("e1", "kvm-b", now)))
        await opened(c, rolls.emptied_now(now))
        await c.press("enter")
        assert isinstance(c.screen, EvacuationScreen)
        assert "EVACUATE kvm-b" in c.text
        assert "of a roll of 3 hosts" in c.text
        await c.press("escape", "j", "enter")
        assert "No VM of kvm-c has been moved by this roll." in c.text
        await c.press("g", "enter")
        assert "That of kvm-a is not kept any more" in c.text
        assert isinstance(c.screen, RollScreen)


async def test_once_vms_come_home_both_can_be_opened(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        await c.publish(EvacuationChanged(rolls.emptying("e1", "kvm-b", now, open_=False)))
        await c.publish(EvacuationChanged(rolls.going_home("r1", "kvm-b", now)))
        await opened(c, rolls.roll(now, RollStep.RETURNING, runs=("e1", "r1"), run="r1"))
        assert "RETURNING kvm-b for 1 m 10 s: 1 of 2 done" in flat(c)
        await c.press("enter")
        assert "RETURN TO kvm-b" in c.text
        await c.press("escape", "e")
        assert "EVACUATE kvm-b" in c.text


async def test_an_evacuation_without_a_roll_is_not_told_to_be_of_one(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        await c.publish(EvacuationChanged(rolls.emptying("e9", "kvm-a", now)))
        await tell(c, rolls.emptied_now(now))
        await c.press("tab", "g", "e")
        assert isinstance(c.screen, EvacuationScreen)
        assert "of a roll" not in c.text


# -- steering ------------------------------------------------------------------------------------


async def test_a_running_roll_is_paused_at_once_and_ended_after_a_yes(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        await c.publish(EvacuationChanged(rolls.emptying("e1", "kvm-b", now)))
        await opened(c, rolls.emptied_now(now))
        await c.press("x")
        assert "Only a hook, or the wait for a host, can be left out." in c.text
        await c.press("p", "a")
        assert "What moves is asked to stay; what waits stays on kvm-b." in flat(c)
        assert "Not begun: kvm-c." in flat(c)
        await c.press("enter")
        assert sent(c) == [RollControl.PAUSE]
        await c.press("a", "y")
        assert sent(c) == [RollControl.PAUSE, RollControl.ABORT]


async def test_a_paused_one_goes_on_without_a_question(console: Open) -> None:
    async with console("web") as c:
        await opened(c, replace(rolls.emptied_now(c.link.clock()), state=RollState.PAUSED))
        assert "p go on" in c.text
        await c.press("p")
        assert sent(c) == [RollControl.RESUME]


async def test_a_hook_is_run_again_or_left_out_only_after_a_yes(console: Open) -> None:
    async with console("web") as c:
        await opened(c, rolls.stopped(c.link.clock()))
        await c.press("p")
        assert "Run the hook on kvm-b again?" in c.text
        assert "Its last run ended with exit code 100 after 41 s." in c.text
        await c.press("n", "x")
        assert "Go on without the hook on kvm-b?" in c.text
        await c.press("n")
        assert not sent(c)
        await c.press("p", "y", "x", "y")
        assert sent(c) == [RollControl.RESUME, RollControl.SKIP]


async def test_a_hook_whose_end_nobody_saw_may_still_go_on(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        hooking = rolls.roll(now, RollStep.HOOK, hook_began=now - 30)
        await opened(c, course.found_again(hooking, {"kvm-b"}))
        await c.press("p")
        assert "How its last run ended is not known: it may still go on there." in c.text


async def test_waiting_is_left_out_only_after_a_yes(console: Open) -> None:
    async with console("web") as c:
        waits = rolls.roll(c.link.clock(), RollStep.BACK, hook=HookEnd(0, 1.0))
        await opened(c, waits)
        await c.press("x")
        assert "The wait still goes on" in c.text
        await tell(c, course.stopped(waits, "kvm-b is not back within 900 s", {"kvm-b"}))
        assert "p waits for it again · x goes on without waiting" in flat(c)
        await c.press("x")
        assert "Its VMs come home at once, also where it has not booted anew." in c.text
        await c.press("y", "p")
        assert sent(c) == [RollControl.SKIP, RollControl.RESUME]


async def test_your_own_work_is_done_only_after_a_yes(console: Open) -> None:
    async with console("web") as c:
        await opened(c, rolls.your_turn(c.link.clock()))
        assert "YOUR TURN" in c.text
        assert "p work is done" in c.text
        await c.press("x")
        assert "There is no hook to leave out" in c.text
        await c.press("p")
        assert "Is your work on kvm-b done?" in c.text
        await c.press("n")
        assert not sent(c)
        await c.press("p", "y")
        assert sent(c) == [RollControl.RESUME]


async def test_a_yes_counts_only_for_what_was_asked_about(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        await opened(c, rolls.stopped(now))
        await c.press("x")
        await tell(c, rolls.roll(now, RollStep.HOOK, done=2, hook=rolls.FAILED))
        await c.press("y")
        assert "The roll has gone on meanwhile: nothing was done." in c.text
        assert not sent(c)


async def test_the_end_is_the_end_at_whichever_step(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        await opened(c, rolls.roll(now, RollStep.HOOK, hook_began=now))
        await c.press("a")
        assert "The hook on kvm-b is not waited for: it may go on there." in flat(c)
        await tell(c, rolls.roll(now, RollStep.BACK))
        await c.press("y")
        assert sent(c) == [RollControl.ABORT]


async def test_of_a_hook_that_said_much_the_last_lines_are_seen(console: Open) -> None:
    said = tuple(f"line {number}" for number in range(20))
    async with console("web") as c:
        hook = HookEnd(4, 1.0, said)
        await opened(c, with_host(rolls.stopped(c.link.clock()), hook=hook))
        shown = c.box("roll-host")
        assert "ended with exit code 4" in shown
        assert "away" in shown
        assert "line 19" in c.text
        assert "line 0" not in c.text


async def test_an_end_that_was_asked_for_is_not_asked_for_again(console: Open) -> None:
    async with console("web") as c:
        await opened(c, replace(rolls.emptied_now(c.link.clock()), aborted=True))
        for key in ("p", "x", "a"):
            await c.press(key)
            assert "The roll is to end: nothing more is begun." in c.text
        assert not sent(c)


async def test_what_the_engine_refuses_is_said(console: Open) -> None:
    async with console("web") as c:
        await opened(c, rolls.emptied_now(c.link.clock()))
        c.link.answers[SteerRoll] = BadInput("The roll is paused already.")
        await c.press("p")
        assert "The roll is paused already." in c.text


async def test_without_an_engine_nothing_is_steered(console: Open) -> None:
    async with console("web") as c:
        await opened(c, rolls.stopped(c.link.clock()))
        await c.link.lose(BadInput("The engine is gone."))
        await c.settle()
        await c.press("a")
        assert "End this roll?" not in c.text
        assert not sent(c)


# -- what comes from outside ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
@pytest.mark.parametrize("front", [True, False])
async def test_no_name_nor_output_is_obeyed(
    console: Open, size: tuple[int, int], front: bool
) -> None:
    def spoil(text: str) -> str:
        return ALL_AT_ONCE + text if front else text + ALL_AT_ONCE

    def looked_at(c: Console) -> None:
        for strip in c.app.screen._compositor.render_strips(c.app.size):
            assert obeyed(strip.text) == []
            assert strip.cell_length == size[0]

    async with console("web", size=size) as c:
        now = c.link.clock()
        run = spoilt(rolls.emptying("e1", "kvm-b", now), spoil)
        for roll in (
            rolls.emptied_now(now),
            rolls.roll(now, RollStep.HOOK, hook_began=now),
            rolls.your_turn(now),
            rolls.stopped(now),
            course.ended(rolls.stopped(now), now),
        ):
            await c.publish(EvacuationChanged(run))
            await tell(c, replace(spoilt(roll, spoil), id="o1"))
            looked_at(c)
            await c.press("r")
            assert isinstance(c.screen, RollScreen)
            looked_at(c)
            for key in ("p", "x", "a"):
                await c.press(key)
                looked_at(c)
                await c.press("n")
            await c.press("tab", "g", "G")
            looked_at(c)
            await c.press("escape")
            assert isinstance(c.screen, FleetScreen)


async def test_a_run_that_ended_counts_as_it_ended(console: Open) -> None:
    async with console("web", size=(200, 50)) as c:
        now = c.link.clock()
        run = rolls.emptying("e1", "kvm-b", now, open_=False)
        assert run.state is EvacuationState.ENDED
        await c.publish(EvacuationChanged(run))
        await opened(c, rolls.roll(now, RollStep.HOOK, runs=("e1",), left=("a", "b")))
        assert "2 away" in c.text
        assert "2 of 2 moved in 1 m 00 s" in c.text


async def test_a_host_s_turn_takes_from_the_one_before_it_on(console: Open) -> None:
    async with console("web") as c:
        now = c.link.clock()
        roll = rolls.emptied_now(now)
        hosts = (replace(roll.hosts[0], began=now - 500), *roll.hosts[1:])
        await opened(c, replace(roll, hosts=hosts, started=now - 800))
        rows = [line.text for line in c.table("rolled").painted]
        assert "5 m 00 s" in rows[1]
        assert "8 m 20 s" in rows[2]
        assert RollHost("kvm-c") == roll.hosts[2]
        assert "○ next" in rows[3]
