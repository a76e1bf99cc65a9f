"""What is done at a target is recorded first; the last move that relied on it undoes it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from backend.errors import CallTimedOut, FerryError, HypervisorError
from backend.hypervisor import networks, pools
from backend.hypervisor.migrate import MigrationOrder
from backend.hypervisor.target_xml import Changes
from backend.model import (
    DiskAction,
    DiskMove,
    Finding,
    Migration,
    Plan,
    Preparation,
    PreparationKind,
    PreparedState,
    Severity,
    Vm,
    VmState,
)
from backend.plan.policy import BALANCED
from backend.run.preparing import Ledger, MakingReady, TargetReady
from backend.run.together import Planned
from backend.run.told import Told

POOL = Preparation(
    PreparationKind.CREATE_POOL, "kvm-b", "fast", "create the pool fast on kvm-b", "/srv/fast"
)
NET = Preparation(PreparationKind.START_NETWORK, "kvm-b", "lan", "start the network lan on kvm-b")
VDA = DiskMove("vda", DiskAction.COPY, "/a", destination="/srv/fast/a")
ORDER = MigrationOrder("u-1", "db-1", "qemu+tls://kvm-b/system", persistent=True)
STATE = Migration("m1", "db-1", "u-1", "kvm-a", "kvm-b", 0.0, BALANCED, moves=(VDA,))


@dataclass
class Target:
    """Does what it is asked, unless an error is next."""

    name: str = "kvm-b"
    errors: list[FerryError | None] = field(default_factory=list)

    async def call(self, function: Callable[[Any], Any], _timeout_s: float, what: str) -> Any:
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        return function(self)


class Silent:
    """A publisher that keeps the order of what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def migration(self, state: Migration) -> None:
        self.told += [f"{one.preparation.name} {one.state}" for one in state.prepared[-1:]]

    def decision(self, _id: str, decision: Any) -> None:
        self.told.append(decision.reason)

    async def kept(self) -> bool:
        return True


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the target was told to do."""
    made: list[str] = []

    def does(what: str, mark: str | None) -> Callable[..., str | None]:
        def do(_conn: Any, name: str, *_rest: Any) -> str | None:
            made.append(f"{what} {name}")
            return mark

        return do

    monkeypatch.setattr(pools, "create", does("create", "pool-uuid+"))
    monkeypatch.setattr(pools, "remove", does("remove", None))
    monkeypatch.setattr(networks, "start", does("start", "net-uuid"))
    monkeypatch.setattr(networks, "stop", does("stop", None))
    return made


def again(*findings: Finding, disks: tuple[DiskMove, ...] = (VDA,)) -> Callable[[], Any]:
    plan = Plan("db-1", "u-1", "kvm-a", "kvm-b", findings, BALANCED, disks=disks)
    order = replace(ORDER, copy_disks=("vda",), changes=Changes({"vda": "/srv/fast/a"}), streams=4)
    planned = Planned(plan, Vm("u-1", "db-1", "kvm-a", VmState.RUNNING), order)

    async def plan_again() -> Planned:
        return planned

    return plan_again


def ready(
    target: Target,
    ledger: Ledger | None = None,
    plan: Callable[[], Awaitable[Planned]] | None = None,
    **changes: Any,
) -> tuple[TargetReady, Told, Silent]:
    silent = Silent()
    told = Told(replace(STATE, **changes), cast("Any", silent), 0.0, lambda: 1000.0)
    asked = MakingReady(ledger or Ledger(), (POOL, NET), plan or again())
    return TargetReady(told, cast("Any", target), asked), told, silent


def states(told: Told) -> list[PreparedState]:
    return [one.state for one in told.state.prepared]


async def test_each_is_recorded_before_it_is_done_and_the_new_order_is_taken(
    done: list[str],
) -> None:
    one, told, silent = ready(Target())
    order = await one.make(ORDER)
    assert done == ["create fast", "start lan"]
    assert silent.told[:2] == ["fast intended", POOL.sentence]
    assert states(told) == [PreparedState.DONE] * 2
    assert (order.copy_disks, order.changes.disks) == (("vda",), {"vda": "/srv/fast/a"})
    assert order.streams == ORDER.streams, "the tuning stays as it was confirmed"


async def test_without_preparations_nothing_is_asked() -> None:
    told = Told(STATE, cast("Any", Silent()), 0.0, lambda: 1000.0)
    assert await TargetReady(told, cast("Any", Target()), None).make(ORDER) is ORDER
    assert await TargetReady(told, cast("Any", Target()), None).undo() == ()


async def test_after_a_wait_for_its_time_it_is_planned_anew() -> None:
    told = Told(replace(STATE, at=4_000_000_000.0), cast("Any", Silent()), 0.0, lambda: 1000.0)

    def departing(plan: Callable[[], Awaitable[Planned]]) -> TargetReady:
        return TargetReady(told, cast("Any", Target()), MakingReady(Ledger(), (), plan))

    order = await departing(again()).make(ORDER)
    assert order.changes.disks == {"vda": "/srv/fast/a"}
    full = Finding("memory-short", "memory", Severity.BLOCK, "kvm-b has no room any more")
    with pytest.raises(FerryError, match="Its time has come, and now: kvm-b has no room any more"):
        await departing(again(full)).make(ORDER)


async def test_when_it_stays_all_is_undone_in_reverse_order(done: list[str]) -> None:
    one, told, _ = ready(Target())
    await one.make(ORDER)
    assert await one.undo() == ()
    assert done[2:] == ["stop lan", "remove fast"]
    assert states(told) == [PreparedState.UNDONE] * 2
    assert await one.undo() == ()
    assert len(done) == 4


async def test_when_it_moved_it_stays(done: list[str]) -> None:
    one, _, _ = ready(Target())
    await one.make(ORDER)
    one.keep()
    assert await one.undo() == ()
    assert done == ["create fast", "start lan"]


async def test_a_refusal_undoes_what_came_before_it(done: list[str]) -> None:
    one, told, _ = ready(Target(errors=[None, HypervisorError("no such bridge")]))
    with pytest.raises(HypervisorError, match="no such bridge"):
        await one.make(ORDER)
    assert await one.undo() == ()
    assert done == ["create fast", "remove fast"]
    assert states(told) == [PreparedState.UNDONE, PreparedState.REFUSED]


async def test_what_was_not_answered_is_left_and_told(done: list[str]) -> None:
    one, told, _ = ready(Target(errors=[CallTimedOut("No answer.")]))
    with pytest.raises(CallTimedOut):
        await one.make(ORDER)
    (left,) = await one.undo()
    assert "may have been done" in left
    assert "virsh pool-destroy fast; virsh pool-undefine fast" in left
    assert states(told) == [PreparedState.INTENDED]


async def test_what_cannot_be_undone_is_left_over_with_how(done: list[str]) -> None:
    target = Target(errors=[None, None, None, HypervisorError("It holds 2 volumes.")])
    one, _, _ = ready(target)
    await one.make(ORDER)
    (left,) = await one.undo()
    assert left.startswith(f"not undone: {POOL.sentence} (It holds 2 volumes)")
    assert left.endswith("virsh pool-destroy fast; virsh pool-undefine fast there")


async def test_a_hostile_name_is_quoted_in_what_is_to_be_typed(done: list[str]) -> None:
    evil = replace(NET, name="lan; rm -rf /")
    told = Told(STATE, cast("Any", Silent()), 0.0, lambda: 1000.0)
    target = Target(errors=[CallTimedOut("No answer.")])
    one = TargetReady(told, cast("Any", target), MakingReady(Ledger(), (evil,), again()))
    with pytest.raises(CallTimedOut):
        await one.make(ORDER)
    assert "virsh net-destroy 'lan; rm -rf /'" in (await one.undo())[0]


async def test_an_abort_meanwhile_does_nothing_more(done: list[str]) -> None:
    one, told, _ = ready(Target(), abort_asked=True)
    assert await one.make(ORDER) is ORDER
    assert (done, told.state.prepared) == ([], ())


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (again(Finding("x", "storage", Severity.BLOCK, "no room", "Make room.")), "now: no room"),
        (again(disks=(replace(VDA, destination="/srv/big/a"),)), "otherwise than it was planned"),
        (again(disks=()), "otherwise than it was planned"),
    ],
)
async def test_only_what_was_confirmed_is_done(
    done: list[str], plan: Callable[[], Any], said: str
) -> None:
    one, _, _ = ready(Target(), plan=plan)
    with pytest.raises(FerryError, match=said):
        await one.make(ORDER)
    assert await one.undo() == ()
    assert done == ["create fast", "start lan", "stop lan", "remove fast"]


@pytest.mark.parametrize("second_moves", [False, True])
async def test_what_another_relies_on_is_that_ones_to_undo(
    done: list[str], second_moves: bool
) -> None:
    ledger = Ledger()
    first, of_first, _ = ready(Target(), ledger)
    second, of_second, _ = ready(Target(), ledger, id="m2", uuid="u-2")
    await first.make(ORDER)
    await second.make(ORDER)
    assert done == ["create fast", "start lan"]
    assert states(of_second) == [PreparedState.FOUND] * 2
    assert await first.undo() == ()
    assert (len(done), states(of_first)) == (2, [PreparedState.KEPT] * 2)
    second.keep() if second_moves else await second.undo()
    assert done[2:] == ([] if second_moves else ["stop lan", "remove fast"])


async def test_while_it_is_not_known_where_the_vm_is_nothing_is_undone(done: list[str]) -> None:
    one, _, _ = ready(Target())
    await one.make(ORDER)
    pool, net = one.undecided()
    assert "virsh pool-undefine fast" in pool
    assert "virsh net-destroy lan" in net
    assert len(done) == 2
