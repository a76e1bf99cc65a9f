"""What the operator allows, chosen on the plan screen: policy, limits, hold and time of the pause.

Every change asks for a new plan. Until it is there the old one stays, marked as old; if the
engine refuses it, the choice goes back to what the plan that is shown was made for.
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

from backend.model import DiskAction, Mode, MoveOptions, Plan, Policy
from backend.service.protocol import ListPolicies, PoliciesReply
from tui.actions import Action
from tui.render import typed, units
from tui.screens.base import FerryScreen
from tui.widgets.prompt import Prompt


def disks_to_place(plan: Plan) -> tuple[str, ...]:
    """Names of the disks that are copied, or would have to be."""
    placed = (DiskAction.COPY, DiskAction.NONE)
    return tuple(disk.target for disk in plan.disks if disk.action in placed)


def lies_on_others(plan: Plan) -> bool:
    """A disk's images could be kept or made one; which of both is the operator's choice."""
    return any(disk.layers or disk.flattened for disk in plan.disks) or any(
        "--flatten" in finding.sentence for finding in plan.findings
    )


class PlanLimits(FerryScreen):
    """The part of the plan screen that changes `MoveOptions`."""

    # The footer leaves out what the screen's own lines name, each with its key.
    LIMITS: ClassVar[tuple[Action, ...]] = (
        Action("policy", "right,l", "policy", "The next policy (or l): what a move may do."),
        Action("policy_back", "left,h", "policy before", "The one before (or h).", footer=False),
        Action("mode", "o", "live/restart", "Move it as it runs, or shut down, move and start it."),
        Action(
            "pause",
            "d",
            "pause limit",
            "The longest pause the VM may take at the end.",
            footer=False,
        ),
        Action(
            "deadline",
            "D",
            "deadline",
            "The VM stays where it is if not moved by then.",
            footer=False,
        ),
        Action("bandwidth", "b", "bandwidth", "Limit how fast memory is sent.", footer=False),
        Action(
            "hold", "w", "hold", "Copy now, wait before the switchover until told.", footer=False
        ),
        Action(
            "prepare",
            "x",
            "prepare",
            "Make the target ready first; undone if the VM stays.",
            footer=False,
        ),
        Action("pool", "p", "pool", "Which pool of the target a disk is copied to.", footer=False),
        Action("flatten", "f", "one image", "Make one image of a disk's chain.", footer=False),
        Action("at", "t,at", "at", "Start so that the pause falls at a set time.", footer=False),
    )

    def __init__(self) -> None:
        super().__init__()
        self._options = MoveOptions()
        self._policies: tuple[Policy, ...] = ()

    @property
    @abstractmethod
    def _plan(self) -> Plan | None:
        """The chosen VM to the chosen target."""

    @abstractmethod
    def do_again(self) -> None:
        """Plan anew with the options."""

    async def _learn_policies(self) -> None:
        reply = await self.ferry.bridge.call(ListPolicies())
        if isinstance(reply, PoliciesReply):
            self._policies = reply.policies

    @property
    def _policy_name(self) -> str:
        """The one that was chosen here, else the plan's own."""
        return self._options.policy or (self._plan.policy.name if self._plan else "")

    def _why_no_limit(self, name: str) -> str:
        """Why one of these cannot be changed now."""
        if self._plan is None:
            return "There is no plan yet."
        if name in ("policy", "policy_back") and len(self._policies) < 2:
            return "The engine has not said which policies there are."
        if name == "mode" and self._plan.mode is Mode.COLD:
            return f"{self._plan.vm} is shut off: it moves cold."
        if name == "prepare" and not (self._options.prepare or self._plan.preparations):
            return f"{self._plan.target} lacks nothing that could be made ready from here."
        if name in ("pool", "flatten"):
            return self._why_no_disk(name, self._plan)
        if name == "hold" and not self._options.hold:
            return self._why_no_hold(self._plan)
        return ""

    def _why_no_disk(self, name: str, plan: Plan) -> str:
        if name == "pool" and not (disks_to_place(plan) or self._options.disks):
            return f"No disk of {plan.vm} has to be copied: none needs a pool."
        if name == "flatten" and not (self._options.flatten or lies_on_others(plan)):
            return f"No disk of {plan.vm} that could be copied lies on other images."
        return ""

    def _why_no_hold(self, plan: Plan) -> str:
        if plan.can_hold:
            return ""
        if plan.blocked:
            return f"{plan.vm} cannot go to {plan.target} as things are; the findings say why."
        forecast = plan.forecast
        takes = f" in {units.band_s(forecast.total_s)}" if forecast and forecast.total_s else ""
        return (
            f"{plan.vm} writes too little to be held: QEMU switches over as soon as nothing is"
            f" left{takes}. Set the time of the pause instead: t."
        )

    def _change(self, **fields: Any) -> None:
        self._options = replace(self._options, **fields)
        self.do_again()

    # -- actions --------------------------------------------------------------------------

    def do_policy(self) -> None:
        """The next one."""
        self._turn(1)

    def do_policy_back(self) -> None:
        """The one before."""
        self._turn(-1)

    def _turn(self, by: int) -> None:
        names = [policy.name for policy in self._policies]
        here = names.index(self._policy_name) if self._policy_name in names else -by
        self._change(policy=names[(here + by) % len(names)])

    def do_hold(self) -> None:
        """On or off."""
        self._change(hold=not self._options.hold)

    def do_mode(self) -> None:
        """Live, or by a restart."""
        restarts = self._options.mode is Mode.RESTART
        self._change(mode=None if restarts else Mode.RESTART)

    def do_prepare(self) -> None:
        """On or off: what it would be stands in the plan, and is asked for at the start."""
        self._change(prepare=not self._options.prepare)

    def do_flatten(self) -> None:
        """One image of each chain, or the chain whole."""
        self._change(flatten=not self._options.flatten)

    def do_pool(self) -> None:
        """Pools for the disks of this VM; none: those of the same names."""
        plan = self._plan
        names = ", ".join(disks_to_place(plan)) if plan else ""
        pools = f" of {', '.join(plan.pools)}" if plan and plan.pools else ""
        now = " ".join(map(typed.disk_text, self._options.disks))
        self.query_one(Prompt).ask(
            f"pool of {names or 'a disk'} (POOL{pools})", now, self._set_pool
        )

    def _set_pool(self, text: str) -> str:
        names = disks_to_place(self._plan) if self._plan else ()
        try:
            disks = typed.parse_disks(text, names)
        except ValueError as error:
            return str(error)
        self._change(disks=disks)
        return ""

    def do_pause(self) -> None:
        """The pause limit, before the start."""
        now = self._options.pause_ms or (self._plan.policy.pause_ms if self._plan else 300)
        self.query_one(Prompt).ask("pause ≤ (ms)", str(now), self._set_pause)

    def _set_pause(self, text: str) -> str:
        try:
            pause_ms = units.parse_pause(text)
        except ValueError as error:
            return str(error)
        self._change(pause_ms=pause_ms)
        return ""

    def do_bandwidth(self) -> None:
        """The bandwidth limit, before the start."""
        limit = self._options.bandwidth_bytes_s
        now = "" if limit is None else units.number(limit / 1e6)
        self.query_one(Prompt).ask("bandwidth (MB/s, empty: unlimited)", now, self._set_bandwidth)

    def _set_bandwidth(self, text: str) -> str:
        try:
            rate = units.parse_rate(text)
        except ValueError as error:
            return str(error)
        self._change(bandwidth_bytes_s=rate)
        return ""

    def do_deadline(self) -> None:
        """How long it may take."""
        limit = self._options.deadline_s
        now = "" if limit is None else f"{limit:g}s"
        label = "deadline (90s, 10min; empty: the policy's)"
        self.query_one(Prompt).ask(label, now, self._set_deadline)

    def _set_deadline(self, text: str) -> str:
        try:
            deadline_s = typed.parse_span(text) if text.strip() else None
        except ValueError as error:
            return str(error)
        self._change(deadline_s=deadline_s)
        return ""

    def do_at(self) -> None:
        """When the pause is to fall."""
        now = units.clock(self._options.at) if self._options.at else ""
        label = "pause at (02:00; empty: as soon as it can)"
        self.query_one(Prompt).ask(label, now, self._set_at)

    def _set_at(self, text: str) -> str:
        try:
            at = typed.parse_time(text, self.ferry.clock()) if text.strip() else None
        except ValueError as error:
            return str(error)
        self._change(at=at)
        return ""
