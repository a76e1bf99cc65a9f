"""What the engine and its clients say to each other: one typed, versioned schema.

A connection carries JSON, one object a line. A client's first line is a `Hello`; then each
`Call` is answered by one `Reply` with the same `seq`. After `Watch` the engine also sends
`Publish` lines, unasked, whenever something changed. Both ends decode into these types and
treat whatever does not fit as a broken peer.
"""

import msgspec

from backend.model import (
    Alarm,
    Control,
    Decision,
    Examination,
    FleetSnapshot,
    Host,
    Migration,
    MoveOptions,
    Past,
    PastFilter,
    Plan,
    Policy,
    Sample,
    Vm,
)
from backend.service.message import Message

# One statement for each name is what ruff would make of these.
# isort: off
from backend.service.protocol_rolls import (
    ListRolls as ListRolls,
    PlanRoll as PlanRoll,
    RollChanged as RollChanged,
    RollReply as RollReply,
    RollsReply as RollsReply,
    StartRoll as StartRoll,
    SteerRoll as SteerRoll,
)
from backend.service.protocol_runs import (
    AdviceChanged as AdviceChanged,
    AdviceReply as AdviceReply,
    EvacuationChanged as EvacuationChanged,
    EvacuationReply as EvacuationReply,
    EvacuationsReply as EvacuationsReply,
    GetAdvice as GetAdvice,
    ListEvacuations as ListEvacuations,
    PlanEvacuation as PlanEvacuation,
    SetMaintenance as SetMaintenance,
    StartEvacuation as StartEvacuation,
    SteerEvacuation as SteerEvacuation,
)
# isort: on

PROTOCOL = 7
"""Raised with every change of this schema; an engine and a client must agree."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A line longer than this is a broken peer (2,000 VMs with their disks are about 2 MB)."""


# -- from a client ---------------------------------------------------------------------------


class FleetChoice(msgspec.Struct, frozen=True):
    """Which fleet a client means: a file's absolute path, or libvirt URIs without a file."""

    path: str | None = None
    uris: tuple[str, ...] = ()


class Hello(Message, frozen=True):
    """First line of a connection."""

    protocol: int
    version: str
    fleet: FleetChoice | None
    """None: a client that only asks about the engine itself."""
    ssh_agent: str | None = None
    """The client's SSH_AUTH_SOCK; the newest client's is used for new connections."""


class GetFleet(Message, frozen=True):
    """The fleet now -> FleetReply. Waits until every host has answered, or failed once."""

    settle_s: float = 0.0


class Watch(Message, frozen=True):
    """Begin publishing to this connection -> Done; starts with the whole fleet and all jobs.

    `samples_of`: migration ids whose samples are wanted, `*` for all.
    """

    fleet: bool = True
    migrations: bool = True
    samples_of: tuple[str, ...] = ()


class MakePlan(Message, frozen=True):
    """What moving these VMs would mean -> PlanReply; `target` None: every other host."""

    vms: tuple[str, ...]
    target: str | None = None
    options: MoveOptions = MoveOptions()


class Start(Message, frozen=True):
    """Move these VMs -> Started, or Refused with every plan (all or nothing is started).

    `target` None: their own hosts, for disks that move between pools.
    """

    vms: tuple[str, ...]
    target: str | None
    options: MoveOptions = MoveOptions()


class ListMigrations(Message, frozen=True):
    """Running migrations (and those that ended while this engine lives) -> MigrationsReply."""

    running_only: bool = False


class GetMigration(Message, frozen=True):
    """One migration with its whole chart, of now or of the journal -> MigrationReply."""

    id: str


class ListPast(Message, frozen=True):
    """Ended migrations of this fleet, of earlier engines too, newest last -> PastReply."""

    wanted: PastFilter = PastFilter()


class SetBandwidth(Message, frozen=True):
    """Limit a running migration -> Done; None lifts the limit."""

    id: str
    rate_bytes_s: int | None


class SetPauseLimit(Message, frozen=True):
    """The longest pause a running migration may take -> Done."""

    id: str
    pause_ms: int


class Abort(Message, frozen=True):
    """Ask a running migration to stay at the source -> Done once asked, not once ended."""

    id: str


class Operate(Message, frozen=True):
    """A control without a value (post-copy, suspend, resume, hold, switch, recover) -> Done.

    Refused unless the migration's `controls` list it.
    """

    id: str
    control: Control


class ListPolicies(Message, frozen=True):
    """The policies this fleet knows, the default first -> PoliciesReply."""


class Examine(Message, frozen=True):
    """Look the whole fleet over, changing nothing -> Examined, within about 20 s."""


class GetEngine(Message, frozen=True):
    """About the engine itself -> EngineReply."""


class StopEngine(Message, frozen=True):
    """End the engine -> Done. Refused while migrations run, unless forced: they go on then."""

    force: bool = False


Request = (
    GetFleet
    | Watch
    | MakePlan
    | Start
    | ListMigrations
    | GetMigration
    | ListPast
    | SetBandwidth
    | SetPauseLimit
    | Abort
    | Operate
    | ListPolicies
    | Examine
    | PlanEvacuation
    | StartEvacuation
    | ListEvacuations
    | SteerEvacuation
    | SetMaintenance
    | PlanRoll
    | StartRoll
    | ListRolls
    | SteerRoll
    | GetAdvice
    | GetEngine
    | StopEngine
)


class Call(msgspec.Struct, frozen=True):
    """One request with the number its reply will carry."""

    seq: int
    request: Request


# -- from the engine -------------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """Answer to a Hello that fits."""

    protocol: int
    version: str
    pid: int


class Failed(Message, frozen=True):
    """A request that was not done: one sentence, what to do, and the exit code it means."""

    sentence: str
    remedy: str = ""
    exit_code: int = 2


class Done(Message, frozen=True):
    """Done as asked."""


class FleetReply(Message, frozen=True):
    fleet: FleetSnapshot


class PlanReply(Message, frozen=True):
    """One plan for every VM and target asked for, VMs outermost."""

    plans: tuple[Plan, ...]


class Started(Message, frozen=True):
    migrations: tuple[Migration, ...]


class Refused(Message, frozen=True):
    """Nothing was touched: at least one of these plans is blocked."""

    plans: tuple[Plan, ...]


class MigrationsReply(Message, frozen=True):
    migrations: tuple[Migration, ...]


class MigrationReply(Message, frozen=True):
    migration: Migration
    samples: tuple[Sample, ...]


class PastReply(Message, frozen=True):
    past: tuple[Past, ...]
    trouble: str = ""
    """Why the journal may not know all of them; empty when it is well."""


class PoliciesReply(Message, frozen=True):
    policies: tuple[Policy, ...]


class Examined(Message, frozen=True):
    examination: Examination


class EngineReply(Message, frozen=True):
    pid: int
    version: str
    started: float
    clients: int
    running_migrations: int
    fleets: tuple[str, ...]


# -- published -------------------------------------------------------------------------------


class FleetChanged(Message, frozen=True):
    """What changed in the fleet since the last one; `whole` replaces all that was known."""

    name: str = ""
    whole: bool = False
    hosts: tuple[Host, ...] = ()
    vms: tuple[Vm, ...] = ()
    gone_vms: tuple[tuple[str, str], ...] = ()
    """(uuid, host) of VMs that are no longer there."""
    alarms: tuple[Alarm, ...] = ()
    """All that there are now."""


class MigrationChanged(Message, frozen=True):
    """A migration began, went on or ended (without its newest sample's history)."""

    migration: Migration


class SampleArrived(Message, frozen=True):
    """One more sample of a watched migration."""

    id: str
    sample: Sample


class DecisionMade(Message, frozen=True):
    """Something was done to a running migration (also in `Migration.decisions`)."""

    id: str
    decision: Decision


class TroubleSaid(Message, frozen=True):
    """Something ails the engine itself (its journal), and migrations go on; empty: no longer."""

    sentence: str


Change = (
    FleetChanged
    | MigrationChanged
    | SampleArrived
    | DecisionMade
    | EvacuationChanged
    | RollChanged
    | AdviceChanged
    | TroubleSaid
)

Reply = (
    Failed
    | Done
    | FleetReply
    | PlanReply
    | Started
    | Refused
    | MigrationsReply
    | MigrationReply
    | PastReply
    | PoliciesReply
    | Examined
    | EvacuationReply
    | EvacuationsReply
    | RollReply
    | RollsReply
    | AdviceReply
    | EngineReply
)


class Answer(Message, frozen=True):
    """The reply to the call numbered `seq`."""

    seq: int
    reply: Reply


class Publish(Message, frozen=True):
    """A change, unasked."""

    change: Change


FromEngine = Welcome | Failed | Answer | Publish

encode = msgspec.json.Encoder().encode
decode_hello = msgspec.json.Decoder(Hello).decode
decode_call = msgspec.json.Decoder(Call).decode
decode_from_engine = msgspec.json.Decoder(FromEngine).decode
