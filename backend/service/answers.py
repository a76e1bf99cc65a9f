"""One reply for each request about a fleet."""

from heapq import merge

from backend.errors import BadInput
from backend.model import Migration
from backend.run.engine import Engine
from backend.service.protocol import (
    Abort,
    AdviceChanged,
    AdviceReply,
    Change,
    Done,
    EvacuationReply,
    EvacuationsReply,
    Examine,
    Examined,
    FleetChanged,
    FleetReply,
    GetAdvice,
    GetFleet,
    GetMigration,
    ListEvacuations,
    ListMigrations,
    ListPast,
    ListPolicies,
    ListRolls,
    MakePlan,
    MigrationReply,
    MigrationsReply,
    Operate,
    PastReply,
    PlanEvacuation,
    PlanReply,
    PlanRoll,
    PoliciesReply,
    Refused,
    Reply,
    Request,
    RollReply,
    RollsReply,
    SampleArrived,
    SetBandwidth,
    SetMaintenance,
    SetPauseLimit,
    Start,
    Started,
    StartEvacuation,
    StartRoll,
    SteerEvacuation,
    SteerRoll,
    TroubleSaid,
    Watch,
)


async def answer(engine: Engine, others: tuple[Engine, ...], request: Request) -> Reply:
    """Do what is asked. `others` are engines of other fleets, which may know a migration that
    this one does not. Raises FerryError.
    """
    await engine.opened()
    if isinstance(request, GetMigration | SetBandwidth | SetPauseLimit | Abort | Operate):
        engine = next((one for one in (engine, *others) if one.knows(request.id)), engine)
    match request:
        case GetFleet():
            await engine.settled(request.settle_s)
            return FleetReply(engine.fleet)
        case Watch():
            return Done()
        case MakePlan():
            return PlanReply(await engine.plan(request.vms, request.target, request.options))
        case Start():
            return await _start(engine, request)
        case ListMigrations():
            return MigrationsReply(_all(engine, others, request.running_only))
        case GetMigration():
            return MigrationReply(*await engine.migration(request.id))
        case ListPast():
            return PastReply(await engine.past(request.wanted), engine.trouble)
        case SetBandwidth():
            await engine.set_bandwidth(request.id, request.rate_bytes_s)
            return Done()
        case SetPauseLimit():
            await engine.set_pause_limit(request.id, request.pause_ms)
            return Done()
        case Abort():
            await engine.abort(request.id)
            return Done()
        case Operate():
            await engine.operate(request.id, request.control)
            return Done()
        case ListPolicies():
            return PoliciesReply(engine.policies)
        case Examine():
            return Examined(await engine.examine())
    return await _about_runs(engine, request)


async def _about_runs(engine: Engine, request: Request) -> Reply:
    runs = engine.evacuations
    match request:
        case PlanEvacuation():
            return EvacuationReply(await runs.plan(request.wish, fresh=request.fresh))
        case StartEvacuation():
            return EvacuationReply(await runs.start(request.wish))
        case ListEvacuations():
            return EvacuationsReply(await runs.all())
        case SteerEvacuation():
            await runs.control(request.id, request.control, request.uuid)
            return Done()
        case SetMaintenance():
            await runs.set_maintenance(request.host, request.on)
            return Done()
        case GetAdvice():
            return AdviceReply(await engine.advisor.asked(request.after, settle=request.settle))
    return await _about_rolls(engine, request)


async def _about_rolls(engine: Engine, request: Request) -> Reply:
    rolls = engine.rolls
    match request:
        case PlanRoll():
            return RollReply(await rolls.plan(request.wish))
        case StartRoll():
            return RollReply(await rolls.start(request.wish))
        case ListRolls():
            return RollsReply(await rolls.all())
        case SteerRoll():
            await rolls.control(request.control)
            return Done()
    raise BadInput("That request is not known here.")


def wanted(watch: Watch, change: Change) -> bool:
    """Whether a connection that watches so wants this change."""
    if isinstance(change, FleetChanged | AdviceChanged):
        return watch.fleet
    if isinstance(change, TroubleSaid):
        return True
    if isinstance(change, SampleArrived):
        return "*" in watch.samples_of or change.id in watch.samples_of
    return watch.migrations


def _all(engine: Engine, others: tuple[Engine, ...], running_only: bool) -> tuple[Migration, ...]:
    """This fleet's, and what still runs of others: each fleet's as they began, whatever the clock
    has done meanwhile."""
    elsewhere = (other.migrations(running_only=True) for other in others)
    own = engine.migrations(running_only=running_only)
    return tuple(merge(*elsewhere, own, key=lambda migration: migration.started))


async def _start(engine: Engine, request: Start) -> Reply:
    plans, migrations = await engine.start(request.vms, request.target, request.options)
    return Started(migrations) if migrations else Refused(plans)
