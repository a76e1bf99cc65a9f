"""A roll's course: every step in its order, every trouble with what is true then."""

from dataclasses import replace

import pytest

from backend.errors import BadInput
from backend.model import (
    Evacuation,
    EvacuationChoice,
    EvacuationMove,
    EvacuationState,
    EvacuationWish,
    FleetSnapshot,
    HookEnd,
    Host,
    HostState,
    MoveState,
    Roll,
    RollHost,
    RollState,
    RollStep,
    RollWish,
    Vm,
    VmState,
    Way,
)
from backend.plan import roll_course as course
from tui.render import roll_words

HOSTS = tuple(Host(name, HostState.UP) for name in ("kvm-a", "kvm-b", "kvm-c"))
NAMES = frozenset(host.name for host in HOSTS)
WISH = RollWish(("kvm-a", "kvm-b"), "apt-get upgrade")


def begun(wish: RollWish = WISH) -> Roll:
    hosts = tuple(RollHost(name) for name in wish.hosts)
    return Roll("r1", wish, RollState.RUNNING, hosts, started=1.0)


def at(step: RollStep, wish: RollWish = WISH, **fields: object) -> Roll:
    """The first host at that step."""
    host = RollHost(wish.hosts[0], step, **fields)  # type: ignore[arg-type]
    return course.set_host(begun(wish), host)


def run(**states: MoveState) -> Evacuation:
    moves = tuple(
        EvacuationMove(name, f"uuid-{name}", "kvm-a", Way.LIVE, "kvm-b", state=state, reason="so.")
        for name, state in states.items()
    )
    return Evacuation("e1", EvacuationWish("kvm-a"), EvacuationState.ENDED, moves, started=2.0)


def test_each_host_goes_through_all_steps_before_the_next_one_begins() -> None:
    roll, seen = begun(), []
    while roll.state.open:
        host = roll.current
        assert host is not None
        seen.append((host.host, host.step))
        roll = course.advanced(roll, 9.0)
    steps = [
        RollStep.WAITING,
        RollStep.EMPTYING,
        RollStep.HOOK,
        RollStep.BACK,
        RollStep.RETURNING,
    ]
    assert seen == [(name, step) for name in WISH.hosts for step in steps]
    assert (roll.state, roll.ended, roll.exit_code) == (RollState.ENDED, 9.0, 0)
    assert course.advanced(roll, 10.0) == roll


def test_what_left_is_known_to_the_host_whose_turn_it_is() -> None:
    roll = course.with_run(at(RollStep.EMPTYING), run())
    assert roll.host_of("e1") == roll.current
    moved = run(web=MoveState.MOVED, db=MoveState.STAYED)
    roll = course.with_left(course.with_left(roll, moved), moved)
    assert roll.current is not None
    assert roll.current.left == ("uuid-web",)
    after = course.advanced(roll, 5.0)
    assert after.current is not None
    assert (after.current.run, after.current.runs) == (None, ("e1",))


def test_trouble_is_what_stays_unless_it_was_to_stay() -> None:
    mixed = run(
        web=MoveState.MOVED, db=MoveState.STAYED, dns=MoveState.LEFT_OUT, gpu=MoveState.CANNOT
    )
    assert [one.vm for one in course.staying(mixed, WISH)] == ["db", "dns", "gpu"]
    left = (EvacuationChoice("uuid-dns", leave=True), EvacuationChoice("uuid-gpu", leave=True))
    stays = course.staying(mixed, replace(WISH, choices=left))
    assert course.move_words(stays) == "db: so"
    home = RollHost("kvm-a", left=("uuid-web", "uuid-db"))
    assert [one.vm for one in course.not_home(mixed, home)] == ["db"]


def test_only_what_runs_there_keeps_a_host_from_being_empty() -> None:
    def vm(name: str, host: str, state: VmState) -> Vm:
        return Vm(f"uuid-{name}", name, host, state)

    fleet = FleetSnapshot(
        vms=(
            vm("off", "kvm-a", VmState.SHUT_OFF),
            vm("on", "kvm-a", VmState.RUNNING),
            vm("stay", "kvm-a", VmState.PAUSED),
            vm("far", "kvm-b", VmState.RUNNING),
        )
    )
    wish = replace(WISH, choices=(EvacuationChoice("uuid-stay", leave=True),))
    assert course.still_there("kvm-a", fleet, wish) == ("on",)
    coming = replace(fleet, vms=(), hosts=(replace(HOSTS[0], migrations_in=1),))
    assert course.still_there("kvm-a", coming, wish) == ("a VM that is being moved there",)
    assert course.still_there("kvm-b", coming, wish) == ()


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (course.Seen(False, why="no route to it"), "no route to it"),
        (course.Seen(False), "libvirt does not answer"),
        (course.Seen(True, "boot-1", stopping=True), "it is being shut down"),
        (course.Seen(True, "boot-1"), ""),
        (course.Seen(True), ""),
    ],
)
def test_a_host_is_back_when_it_answers_and_goes_nowhere(seen: course.Seen, why: str) -> None:
    host = RollHost("kvm-a", RollStep.BACK, boot_id="boot-1", hook=HookEnd(0, 1.0))
    assert course.not_back(host, WISH, seen) == why


def test_who_was_to_boot_anew_is_back_only_then() -> None:
    host = RollHost("kvm-a", RollStep.BACK, boot_id="boot-1", hook=HookEnd(0, 1.0))
    told = replace(WISH, reboots=True)
    same, other = course.Seen(True, "boot-1"), course.Seen(True, "boot-2")
    assert "not booted anew" in course.not_back(host, told, same)
    assert "not booted anew" in course.not_back(host, told, course.Seen(True))
    assert course.not_back(host, told, other) == ""
    cut = replace(host, hook=HookEnd(None, 1.0))
    assert "not booted anew" in course.not_back(cut, WISH, same)
    assert course.not_back(cut, WISH, other) == ""


def test_a_stop_says_what_is_true_and_how_to_go_on() -> None:
    roll = at(RollStep.HOOK, runs=("e1",), left=("u1", "u2"))
    stopped = course.stopped(roll, "The hook on kvm-a ended with exit code 3.", {"kvm-a"})
    assert (stopped.state, stopped.exit_code) == (RollState.STOPPED, 1)
    assert stopped.trouble == (
        "The hook on kvm-a ended with exit code 3. kvm-a is in maintenance, and empty;"
        " 2 VMs of it are on other hosts. Not begun: kvm-b. `virt-ferry rolls resume` runs the"
        " hook again, `... skip` goes on without the hook, `... abort` ends the roll."
    )
    assert course.stopped(roll, "x", set(), needs_you=True).exit_code == 3
    early = course.stopped(at(RollStep.EMPTYING), "kvm-a cannot be emptied", set())
    assert "kvm-a was not touched. Not begun: kvm-b." in early.trouble
    assert "skip" not in early.trouble
    second = course.set_host(at(RollStep.DONE), RollHost("kvm-b", RollStep.BACK, left=("u1",)))
    said = course.stopped(second, "kvm-b is not back", {"kvm-b"}).trouble
    assert "1 VM of it is on other hosts. Done: kvm-a." in said
    assert "waits for it again" in said


def test_after_trouble_the_step_is_tried_anew_with_another_run() -> None:
    stopped = course.stopped(at(RollStep.EMPTYING, runs=("e1",), run="e1"), "x", set())
    resumed = course.resumed(stopped)
    assert resumed.current is not None
    assert (resumed.state, resumed.trouble, resumed.current.run) == (RollState.RUNNING, "", None)
    paused = replace(at(RollStep.EMPTYING, runs=("e1",), run="e1"), state=RollState.PAUSED)
    kept = course.resumed(paused).current
    assert kept is not None
    assert kept.run == "e1", "one that was only interrupted goes on with its own"


def test_what_an_engine_was_in_the_middle_of_is_not_gone_on_with_unasked() -> None:
    found = course.found_again(at(RollStep.RETURNING, left=("u1",)), {"kvm-a"})
    assert found.state is RollState.INTERRUPTED
    assert "The engine ended while the roll went on. kvm-a is in maintenance;" in found.trouble
    hooked = at(RollStep.HOOK, runs=("e1",), hook_began=3.0)
    for state in (RollState.RUNNING, RollState.PAUSED):
        found = course.found_again(replace(hooked, state=state), {"kvm-a"})
        assert "while the hook ran on kvm-a: its end is not known" in found.trouble
        assert "runs the hook again" in found.trouble
    by_hand = replace(hooked, wish=replace(WISH, hook=""), state=RollState.PAUSED)
    stopped = replace(hooked, state=RollState.STOPPED, trouble="x")
    for waits in (by_hand, stopped, replace(hooked, state=RollState.ENDED)):
        assert course.found_again(waits, set()) == waits


def test_a_roll_that_was_ended_early_names_what_is_left_to_do() -> None:
    away = at(RollStep.HOOK, runs=("e1",), left=("u1",))
    assert course.left_to_do(away, {"kvm-a"}) == (
        "virt-ferry return kvm-a",
        "virt-ferry roll kvm-a kvm-b",
    )
    empty = at(RollStep.HOOK)
    assert course.left_to_do(empty, {"kvm-a"})[0] == "virt-ferry maintenance kvm-a off"
    home = at(RollStep.RETURNING, left=("u1",))
    assert course.left_to_do(home, set()) == ("virt-ferry return kvm-a", "virt-ferry roll kvm-b")
    assert course.left_to_do(begun(), set()) == ("virt-ferry roll kvm-a kvm-b",)


@pytest.mark.parametrize(
    ("wish", "hosts", "reached", "says"),
    [
        (RollWish(("kvm-a", "nine")), HOSTS, NAMES, "no host 'nine'"),
        (RollWish(("kvm-a",), targets=("nine",)), HOSTS, NAMES, "no host 'nine'"),
        (RollWish(("kvm-a", "kvm-b", "kvm-a")), HOSTS, NAMES, "kvm-a is named twice"),
        (RollWish(("kvm-a",)), HOSTS[:1], NAMES, "the only host"),
        (RollWish(()), HOSTS, NAMES, "not said which hosts"),
        (RollWish(("kvm-a", "kvm-b"), targets=("kvm-b",)), HOSTS, NAMES, "kvm-b is to be emptied"),
        (RollWish(("kvm-a",), "a\0b"), HOSTS, NAMES, "no command"),
        (WISH, HOSTS, {"kvm-a"}, "No command can be run on kvm-b"),
        (RollWish(("kvm-a",), reboots=True), HOSTS, set[str](), "No command can be run on kvm-a"),
        (
            WISH,
            (HOSTS[0], Host("kvm-b", HostState.UNREACHABLE, reason="No route.")),
            NAMES,
            "kvm-b is not up: No route",
        ),
        (
            WISH,
            (HOSTS[0], Host("kvm-b", HostState.UP, maintenance_since=1.0)),
            NAMES,
            "kvm-b is in maintenance already",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    wish: RollWish, hosts: tuple[Host, ...], reached: frozenset[str], says: str
) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        course.check(wish, hosts, reached)
    assert refused.value.exit_code == 2


def test_what_can_be_is_not_refused() -> None:
    course.check(WISH, HOSTS, NAMES)
    course.check(RollWish(("kvm-a", "kvm-b"), targets=("kvm-b", "kvm-c")), HOSTS, set())


def test_the_console_says_trouble_without_the_commands() -> None:
    """Keys do there what they do; what is left to do after an early end stays."""
    why = "The hook on kvm-a ended with exit code 4"
    stopped = course.stopped(at(RollStep.HOOK, left=("uuid-db",)), why, {"kvm-a"})
    assert roll_words.what_is_so(stopped) == (
        f"{why}. kvm-a is in maintenance, and empty; 1 VM of it is on other hosts."
        " Not begun: kvm-b."
    )
    found = course.found_again(at(RollStep.EMPTYING), set())
    assert "virt-ferry" not in roll_words.what_is_so(found)
    ended = replace(stopped, trouble="Left to do: `virt-ferry return kvm-a`.")
    assert roll_words.what_is_so(ended) == ended.trouble
