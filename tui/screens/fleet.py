"""The home screen: every host, every VM, and where to go from here."""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.widget import Widget

from backend.model import EvacuationKind, EvacuationWish
from backend.service.protocol import SetMaintenance
from tui.actions import Action
from tui.render import headline, host_rows, roll_lines, vm_rows
from tui.render.host_rows import HostRow
from tui.render.ink import Ink, Line, Span
from tui.render.vm_rows import SORTS, VmRow
from tui.screens.advised import Advised
from tui.widgets.live_table import LiveTable
from tui.widgets.painted import PaintedLine

RUN_ACTIONS = ("evacuate", "bring_back", "maintenance")


class FleetScreen(Advised):
    """Hosts above, VMs below; between them what the rules advise."""

    NAME = "fleet"
    SORTS = SORTS
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("mark", "space", "mark", "Mark the VM under the cursor, to move several at once."),
        Action("open", "enter", "open", "Open a VM's migration, or show one host's VMs."),
        Action("plan", "m", "migrate", "Plan a move of the marked VMs; nothing is touched yet."),
        Action("evacuate", "e", "evacuate", "Plan to empty the host under the cursor."),
        Action(
            "bring_back", "R", "return", "Plan the way home of what left that host.", footer=False
        ),
        Action(
            "maintenance",
            "X",
            "maintenance",
            "Maintenance on, so that no VM goes there, or off.",
            footer=False,
        ),
        *Advised.ADVICE,
        Action("migrations", "M", "migrations", "List running and ended migrations."),
        Action("history", "h", "history", "List every migration that has ended."),
        Action("rolls", "r", "rolls", "See hosts that are emptied one after the other: a roll."),
        Action("filter", "slash", "filter", "Show only VMs whose name, host or state match."),
        Action("sort", "s", "sort", "Sort the VMs by the next column."),
        Action("doctor", "D", "doctor", "Examine hosts, VMs, certificates, ports."),
        Action("reverse", "S", "reverse", "Turn the sort order around.", footer=False),
        Action("tables", "tab", "tables", "Go from one table to the other.", footer=False),
        Action("clear", "escape", "clear", "Take all marks and the filter away.", footer=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._hosts: LiveTable[HostRow] = LiveTable(
            host_rows.COLUMNS,
            lambda row: row.host.name,
            note=HostRow.note,
            dim=lambda row: not row.up,
            empty="waiting for the engine",
            id="hosts",
        )
        self._vms: LiveTable[VmRow] = LiveTable(
            vm_rows.COLUMNS,
            lambda row: row.key,
            note=VmRow.note,
            dim=lambda row: not row.host_up,
            empty="waiting for the engine",
            id="vms",
        )

    def body(self) -> Iterable[Widget]:
        """Two rules, two tables; between them a roll that goes on, and the advice."""
        yield PaintedLine(lambda w, _: [headline.rule(("HOSTS",), w)], id="hosts-rule")
        yield self._hosts
        yield PaintedLine(lambda w, _: self._roll_lines(w), id="roll-line")
        yield self.advice_box()
        yield PaintedLine(lambda w, _: [headline.rule(self._vms_title(), w)], id="vms-rule")
        yield self._vms

    def on_mount(self) -> None:
        """The VMs have the keyboard first."""
        self._vms.focus()

    def draw(self) -> None:
        """Both tables, and the advice."""
        now = self.ferry.clock()
        rows = self.store.vm_rows(now)
        vms_on = {host.name: 0 for host in self.store.fleet.hosts}
        for row in rows:
            vms_on[row.vm.host] = vms_on.get(row.vm.host, 0) + 1
        hosts = [HostRow(host, vms_on[host.name], now) for host in self.store.fleet.hosts]
        self._fit_hosts(len(hosts))
        self._draw_roll()
        self.draw_advice()
        self._hosts.apply(hosts)
        self._vms.empty = self._why_empty(bool(rows))
        self._vms.apply(self._arranged(rows))
        self.query_one("#vms-rule", PaintedLine).redraw()

    def _fit_hosts(self, count: int) -> None:
        most = max(self.size.height * 2 // 5, 4)
        self._hosts.styles.height = min(count + 1, most) if count else 2

    def _draw_roll(self) -> None:
        box = self.query_one("#roll-line", PaintedLine)
        box.styles.height = len(self._roll_lines(self.size.width))
        box.redraw()

    def _roll_lines(self, width: int) -> list[Line]:
        """One line, while a roll is open."""
        roll = self.store.newest_roll()
        if roll is None or not roll.state.open:
            return []
        return [roll_lines.fleet_line(self.store.roll_view(roll, self.ferry.clock()), width)]

    def in_footer(self, action: Action) -> bool:
        """Rolls, once there has been one."""
        return action.footer and (action.name != "rolls" or bool(self.store.rolls))

    def _why_empty(self, any_vms: bool) -> str:
        if not self.store.filled:
            return "waiting for the engine"
        return f"no VM matches /{self._filter}: esc clears it" if any_vms else "no VM on any host"

    def _arranged(self, rows: list[VmRow]) -> list[VmRow]:
        wanted = [row for row in rows if self._matches(row)]
        column = SORTS[self._sort]
        self._vms.sorted_by = column.key if self._sort or self._falling else ""
        self._vms.falling = self._falling
        assert column.sort is not None
        return sorted(wanted, key=column.sort, reverse=self._falling)

    def _matches(self, row: VmRow) -> bool:
        words = self._filter.lower().split()
        target = row.migration.target if row.migration and row.moving else ""
        state = "moving" if row.moving else row.vm.state
        text = f"{row.vm.name} {row.vm.host} {state} {target}".lower()
        return all(word in text for word in words)

    def _vms_title(self) -> tuple[Span | str, ...]:
        parts: list[Span | str] = ["VMS"]
        if self._filter:
            parts += [(" ─ ", Ink.DIM), (f"/{self._filter}", Ink.KEY)]
        if self._vms.marks:
            parts += [(" ─ ", Ink.DIM), (f"{len(self._vms.marks)} marked", Ink.WARN)]
        return tuple(parts)

    # -- actions --------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Reasons, by action."""
        if name in ("mark", "plan", "open", "sort") and not self.store.filled:
            return self.store.link.sentence or "The fleet is not known yet."
        if name in ("advice", "next_advice"):
            return self.why_no_advice(name)
        if name == "doctor":
            return self.needs_engine()
        if name == "plan":
            return self.needs_engine() or self._why_no_plan()
        if name in RUN_ACTIONS:
            return self.needs_engine() or ("" if self._host else "There is no host to choose.")
        if name == "mark" and self.focused is self._hosts:
            return "Hosts cannot be marked: tab goes to the VMs."
        return ""

    def _chosen(self) -> list[VmRow]:
        current = self._vms.current
        return self._vms.marked or ([current] if current else [])

    def _why_no_plan(self) -> str:
        chosen = self._chosen()
        if not chosen:
            return "There is no VM to move: no row is chosen."
        moving = [row.vm.name for row in chosen if row.moving]
        if moving:
            return f"{', '.join(moving)} is being moved already: enter shows it."
        sources = {row.vm.host for row in chosen}
        if len(sources) > 1:
            return f"The marked VMs are on {' and '.join(sorted(sources))}: mark those of one host."
        return ""

    def do_mark(self) -> None:
        """Mark and step on."""
        self._vms.toggle_mark()
        self.draw_all()

    def do_plan(self) -> None:
        """Plan the marked VMs, or the one under the cursor."""
        self.ferry.open_plan(tuple(row.vm for row in self._chosen()))

    @property
    def _host(self) -> str:
        """The host under the cursor, or that of the VM under it."""
        if self._hosts.has_focus:
            return self._hosts.current.host.name if self._hosts.current else ""
        return self._vms.current.vm.host if self._vms.current else ""

    def do_evacuate(self) -> None:
        """Review it; a run of this host that is open is shown instead."""
        self._open_run(EvacuationKind.EVACUATE)

    def do_bring_back(self) -> None:
        """The same, home."""
        self._open_run(EvacuationKind.RETURN)

    def _open_run(self, kind: EvacuationKind) -> None:
        run = self.store.open_run(self._host)
        if run is not None:
            self.ferry.open_evacuation(run.id)
        else:
            self.ferry.open_evacuate(EvacuationWish(self._host, kind))

    def do_maintenance(self) -> None:
        """On or off."""
        host = self.store.fleet.host(self._host)
        on = host is None or host.maintenance_since is None
        self.engine(self._set_maintenance(SetMaintenance(self._host, on)), "maintenance")

    async def _set_maintenance(self, request: SetMaintenance) -> None:
        await self.ferry.bridge.call(request)
        said = "takes no VM until X is pressed again" if request.on else "takes VMs again"
        self.say(f"{request.host} {said}.", ink=Ink.DIM)

    def do_migrations(self) -> None:
        """The list."""
        self.ferry.open_migrations()

    def do_history(self) -> None:
        """What has ended, of earlier engines too."""
        self.ferry.open_history()

    def do_rolls(self) -> None:
        """The open one, or the newest."""
        self.ferry.open_rolls()

    def do_doctor(self) -> None:
        """What is wrong with the fleet."""
        self.ferry.open_doctor()

    def do_tables(self) -> None:
        """Hosts to VMs and back."""
        (self._vms if self._hosts.has_focus else self._hosts).focus()

    def do_clear(self) -> None:
        """No marks, no filter."""
        self._vms.marks.clear()
        self._set_filter("")

    def do_open(self) -> None:
        """What enter does, also from the palette."""
        (self._hosts if self._hosts.has_focus else self._vms).action_open()

    @on(LiveTable.Opened, "#hosts")
    def _host_opened(self, event: LiveTable.Opened) -> None:
        """One host's VMs, and what is wrong with it; the same again shows all."""
        host = self.store.fleet.host(event.key)
        if host is not None and host.reason:
            self.say(f"{host.name}: {host.reason}")
        self._set_filter("" if self._filter == event.key else event.key)
        self._vms.focus()

    @on(LiveTable.Opened, "#vms")
    def _vm_opened(self, _event: LiveTable.Opened) -> None:
        current = self._vms.current
        if current is None:
            return
        if current.migration is not None:
            self.ferry.open_migration(current.migration.id)
        elif current.vm.trouble:
            self.say(f"{current.vm.name}: {current.vm.trouble}")
        else:
            never = f"{current.vm.name} has not been moved by this engine"
            self.say(f"{never}: m plans a move, h lists earlier ones.")
