"""The home screen's promises, on recorded fleets."""

from dataclasses import replace

from backend.model import HostState, VmState
from backend.service.protocol import FleetChanged, MakePlan
from tests.console.conftest import Console, Open
from tui.render.vm_rows import VmRow
from tui.screens.fleet import FleetScreen
from tui.screens.plan import PlanScreen
from tui.widgets.key_bar import KeyBar
from tui.widgets.prompt import Prompt


def names(console: Console) -> list[str]:
    rows = console.table("vms")._items.values()
    return [row.vm.name for row in rows if isinstance(row, VmRow)]


def current(console: Console) -> str:
    row = console.table("vms").current
    assert isinstance(row, VmRow)
    return row.vm.name


async def test_hosts_and_vms_are_there(console: Open) -> None:
    async with console("idle") as c:
        for name in ("kvm-a", "kvm-b", "kvm-c", "web-1", "db-1", "batch-1", "○ shut off"):
            assert name in c.text
        assert "3 hosts · 8 VMs · 0 moving" in c.text


async def test_the_filter_narrows_as_it_is_typed(console: Open) -> None:
    async with console("idle") as c:
        await c.press("slash", "d", "b")
        assert names(c) == ["db-1"]
        await c.press("enter")
        assert names(c) == ["db-1"]
        assert "/db" in c.text
        await c.press("escape")
        assert len(names(c)) == 8


async def test_escape_in_the_filter_brings_the_old_one_back(console: Open) -> None:
    async with console("idle") as c:
        await c.press("slash", "w", "e", "b", "escape")
        assert len(names(c)) == 8
        await c.press("g")
        assert current(c) == names(c)[0]


async def test_a_filter_that_matches_nothing_says_so(console: Open) -> None:
    async with console("idle") as c:
        await c.press("slash", "x", "x", "enter")
        assert "no VM matches /xx" in c.text


async def test_sorting_keeps_the_cursor_on_its_vm(console: Open) -> None:
    async with console("idle") as c:
        await c.press("j", "j")
        before, order = current(c), names(c)
        await c.press("s", "S")
        assert names(c) != order
        assert current(c) == before


async def test_rows_that_come_and_go_leave_the_cursor_alone(console: Open) -> None:
    async with console("idle") as c:
        await c.press("j", "j", "j")
        before = current(c)
        first = c.app.store.fleet.vms[0]
        await c.publish(FleetChanged(gone_vms=((first.uuid, first.host),)))
        assert current(c) == before
        await c.publish(FleetChanged(vms=(replace(first, name="aaa"),)))
        assert names(c)[0] == "aaa"
        assert current(c) == before


async def test_when_the_cursors_row_goes_the_next_takes_its_place(console: Open) -> None:
    async with console("idle") as c:
        await c.press("G")
        row = c.table("vms").current
        assert isinstance(row, VmRow)
        await c.publish(FleetChanged(gone_vms=((row.vm.uuid, row.vm.host),)))
        assert current(c) == names(c)[-1]


async def test_vim_keys_and_ends(console: Open) -> None:
    async with console("idle") as c:
        for keys, index in ((("j",), 1), (("k",), 0), (("k",), 0), (("G",), 7), (("g",), 0)):
            await c.press(*keys)
            assert current(c) == names(c)[index]


async def test_marks_are_kept_through_sorts_and_planned_together(console: Open) -> None:
    async with console("idle") as c:
        host = next(vm.host for vm in c.app.store.fleet.vms if vm.name == "db-1")
        together = [vm.name for vm in c.app.store.fleet.vms if vm.host == host]
        await c.press("slash", *host, "enter", *["space"] * len(together), "s", "m")
        assert isinstance(c.screen, PlanScreen)
        (request,) = c.asked(MakePlan)
        assert isinstance(request, MakePlan)
        assert set(request.vms) == set(together)


async def test_vms_of_two_hosts_are_not_planned_together(console: Open) -> None:
    async with console("idle") as c:
        await c.press(*["space"] * 8, "m")
        assert isinstance(c.screen, FleetScreen)
        assert "mark those of one host" in c.text
        assert not c.asked(MakePlan)


async def test_enter_on_a_host_shows_its_vms(console: Open) -> None:
    async with console("idle") as c:
        await c.press("tab", "j", "enter")
        assert {vm.host for vm in c.app.store.fleet.vms if vm.name in names(c)} == {"kvm-b"}


async def test_enter_on_a_vm_that_never_moved_says_what_to_do(console: Open) -> None:
    async with console("idle") as c:
        await c.press("enter")
        assert "m plans a move" in c.text


async def test_a_host_that_is_cut_off_says_so_and_counts_down(console: Open) -> None:
    async with console("host-cut") as c:
        down = next(
            entry.t
            for entry in c.link.entries
            if isinstance(entry.change, FleetChanged)
            and any(
                h.retry_at and h.retry_at > c.link.epoch + entry.t + 2 for h in entry.change.hosts
            )
        )
        await c.at(down)
        host = c.app.store.fleet.host("kvm-c")
        assert host is not None
        assert host.retry_at is not None
        row = next(line for line in c.text.splitlines() if "kvm-c" in line)
        assert "✕" in row
        assert host.reason.removeprefix("kvm-c ")[:20] in row
        assert "retry in" in row
        assert "? unknown" in c.text
        c.link.clock.now = host.retry_at - 1.5
        await c.settle()
        assert "retry in 2 s" in c.text or "retry in 1 s" in c.text


async def test_the_other_hosts_go_on_meanwhile(console: Open) -> None:
    async with console("host-cut") as c:
        away = [
            entry.t
            for entry in c.link.entries
            if isinstance(entry.change, FleetChanged)
            and any(h.state is HostState.UNREACHABLE for h in entry.change.hosts)
        ]
        others = [
            entry.t
            for entry in c.link.entries
            if isinstance(entry.change, FleetChanged)
            and away[0] < entry.t < away[0] + 8
            and any(h.name == "kvm-a" for h in entry.change.hosts)
        ]
        assert len(others) >= 4


async def test_a_hostile_name_is_only_a_name(console: Open) -> None:
    async with console("idle") as c:
        hostile = replace(c.app.store.fleet.vms[0], name="[red]x[/]\x1b[2J", uuid="u-x")
        await c.publish(FleetChanged(vms=(hostile,)))
        assert "[red]x[/][2J" in c.text
        assert "\x1b" not in c.text
        await c.press("slash", "x", "enter", "m")
        assert "MOVE [red]x[/][2J FROM" in c.text
        assert "\x1b" not in c.text


async def test_a_progress_never_falls(console: Open) -> None:
    async with console("db") as c:
        shown: list[float] = []
        for step in range(int(c.link.length)):
            await c.link.play_to(step)
            shown += [
                track.progress
                for id, track in c.app.store.tracks.items()
                if id in c.link.migrations()
            ]
        assert shown == sorted(shown)
        assert shown[-1] == 1.0


async def test_eighty_columns_keep_what_matters(console: Open) -> None:
    async with console("two-at-once", size=(80, 24)) as c:
        first = next(iter(c.link.migrations().values()))
        await c.at(first.t + 3)
        rows = c.text.splitlines()
        assert len(rows) == 24
        assert all(len(row) <= 80 for row in rows)
        assert f"⇢ {first.migration.target}" in c.text
        assert "ctrl+p commands" in c.text


async def test_two_hundred_columns_gain_columns(console: Open) -> None:
    async with console("idle", size=(200, 50)) as c:
        for title in ("RESIDENT", "AUTOSTART", "UUID", "HOSTNAME"):
            assert title in c.text


async def test_plain_ascii_for_terminals_without_glyphs(console: Open) -> None:
    async with console("idle", ascii_only=True) as c:
        assert c.text.isascii()
        assert "* running" in c.text


async def test_keys_are_in_the_help(console: Open) -> None:
    async with console("idle") as c:
        await c.press("question_mark")
        for action in FleetScreen.ACTIONS:
            assert action.about in c.text
        await c.press("escape")
        assert isinstance(c.screen, FleetScreen)


async def test_nothing_but_what_is_seen_is_drawn(console: Open) -> None:
    async with console("idle") as c:
        fleet = c.screen
        await c.press("question_mark")
        drawn = fleet._drawn_version
        vm = next(vm for vm in c.app.store.fleet.vms if vm.state is VmState.RUNNING)
        await c.publish(FleetChanged(vms=(replace(vm, cpu_percent=99.0),)))
        assert fleet._drawn_version == drawn
        await c.press("escape")
        assert "99%" in c.text


async def test_the_mouse_works_too(console: Open) -> None:
    async with console("idle") as c:
        await c.pilot.click("#vms", offset=(10, 3))
        assert current(c) == names(c)[2]
        bar = c.screen.query_one(KeyBar)
        x = bar.painted[0].text.index("/ filter")
        await c.pilot.click(KeyBar, offset=(x, 0))
        assert c.screen.query_one(Prompt).display


async def test_a_key_that_can_do_nothing_says_why(console: Open) -> None:
    async with console("idle") as c:
        await c.press("tab", "space")
        assert "Hosts cannot be marked" in c.text


async def test_trembling_figures_stand_still(console: Open) -> None:
    async with console("idle") as c:
        vm = next(vm for vm in c.app.store.fleet.vms if vm.cpu_percent is not None)
        await c.publish(FleetChanged(vms=(replace(vm, cpu_percent=50.0),)))
        still = c.text
        for tremble in (51.0, 48.2, 52.4):
            await c.publish(FleetChanged(vms=(replace(vm, cpu_percent=tremble),)))
            assert c.text == still
        await c.publish(FleetChanged(vms=(replace(vm, cpu_percent=57.0),)))
        assert "57%" in c.text


async def test_a_host_that_answers_is_drawn_at_once_whatever_the_pace(console: Open) -> None:
    async with console("idle") as c:
        gone = c.app.store.fleet.vms[0]
        await c.link.publish(FleetChanged("lab", gone_vms=((gone.uuid, gone.host),)))
        await c.pilot.pause()
        assert gone.name not in c.text
        await c.link.publish(FleetChanged("lab", vms=(gone,)))
        await c.pilot.pause()
        assert gone.name in c.text
