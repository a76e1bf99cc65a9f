"""What a new engine makes of what was left, and of what somebody else moves: the pure part."""

from dataclasses import replace

import pytest

from backend.errors import OPERATION_TIMEOUT, HypervisorError
from backend.hypervisor.migrate import JobSeen
from backend.hypervisor.stats import job_sample
from backend.model import (
    NOT_KNOWN,
    Decision,
    Migration,
    Outcome,
    Phase,
    PhaseState,
    Sample,
    Vm,
    VmState,
)
from backend.run.contest import Contest
from backend.run.foreign_state import first_foreign_state, judge_alone, same_job
from backend.run.hold import held_before
from backend.run.roster import Roster
from backend.run.sampling import Account
from backend.run.verdict import End
from tui.render.charts import left_to_send, rates
from tui.render.migration_lines import MigrationView, title

NOW = 1_800_000_000.0
MIB = 2**20


def job(elapsed_ms: int = 12_000, *, memory: int = 512 * MIB, disk: int = 0) -> JobSeen:
    raw = {
        "operation": 5,
        "time_elapsed": elapsed_ms,
        "memory_total": memory,
        "memory_remaining": memory // 2,
        "disk_total": disk,
        "disk_remaining": disk // 2,
    }
    return JobSeen(job_sample(raw, 0.0))


def foreign(found: JobSeen | None = None) -> Migration:
    vm = Vm("u-1", "db-1", "kvm-a", VmState.RUNNING)
    return first_foreign_state("f1", vm, found or job(), 200, None, NOW)


def source(state: VmState, reason: str = "", *, defined: bool = True) -> End:
    return End("kvm-a", defined, state.active, state, reason)


def sample(t_s: float, pass_number: int = 1, sent_bytes: int = 0) -> Sample:
    return Sample(t_s, pass_number, 100 * MIB, 512 * MIB, sent_bytes, 25e6, 5e6)


def test_a_job_that_is_found_begins_when_it_began() -> None:
    state = foreign()
    assert (state.started, state.called_at) == (NOW - 12, NOW - 12)
    assert (state.target, state.foreign, state.encrypted) == (NOT_KNOWN, True, None)
    assert (state.pause_limit_ms, state.policy.name) == (200, "foreign")
    assert (state.phase, state.phases[Phase.DISK]) == (Phase.MEMORY, PhaseState.SKIPPED)
    assert "somebody else" in state.decisions[0].reason
    assert "12 s ago" in state.decisions[0].reason


def test_a_job_that_copies_disks_is_in_that_phase() -> None:
    state = foreign(job(memory=0, disk=MIB))
    assert (state.phase, state.phases[Phase.DISK]) == (Phase.DISK, PhaseState.ACTIVE)
    assert foreign(job(disk=MIB)).phases[Phase.DISK] is PhaseState.DONE


@pytest.mark.parametrize(("elapsed_ms", "same"), [(22_000, True), (3_000, False), (60_000, False)])
def test_a_job_is_told_by_when_it_began(elapsed_ms: int, same: bool) -> None:
    assert same_job(foreign(), job(elapsed_ms), NOW + 10) is same


@pytest.mark.parametrize(
    ("end", "outcome", "owner", "words"),
    [
        (source(VmState.RUNNING, "migrated"), Outcome.STAYED, "kvm-a", "runs on kvm-a"),
        (source(VmState.PAUSED, "user"), Outcome.STAYED, "kvm-a", "paused (user)"),
        (source(VmState.SHUT_OFF, "shutdown"), Outcome.STAYED, "kvm-a", "shut off"),
        (source(VmState.SHUT_OFF, "migrated"), Outcome.UNKNOWN, None, "outside of this fleet"),
        (source(VmState.UNKNOWN, defined=False), Outcome.UNKNOWN, None, "do not start it"),
        (None, Outcome.UNKNOWN, None, "did not answer"),
    ],
)
def test_without_a_known_target_nothing_is_guessed(
    end: End | None, outcome: Outcome, owner: str | None, words: str
) -> None:
    judgement = judge_alone(foreign(), end, ())
    assert (judgement.outcome, judgement.owner) == (outcome, owner)
    assert words in judgement.reason


def test_a_host_that_was_not_heard_may_have_it() -> None:
    gone = source(VmState.UNKNOWN, defined=False)
    heard, unheard = (judge_alone(foreign(), gone, silent) for silent in ((), ("kvm-c",)))
    assert (heard.settled, unheard.settled) == (True, False)
    assert "kvm-c did not answer" in unheard.reason


def decision(t_s: float, action: str) -> Decision:
    return Decision(t_s, NOW + t_s, action, "")


@pytest.mark.parametrize(
    ("marks", "held", "expected"),
    [
        ((), False, (0.0, None)),
        ((), True, (0.0, 105.0)),
        (((20, "switch"),), False, (15.0, None)),
        (((20, "hold"),), True, (0.0, 120.0)),
        (((20, "hold"), (30, "switch"), (40, "hold")), True, (10.0, 140.0)),
    ],
)
def test_the_time_of_a_hold_is_read_from_the_log(
    marks: tuple[tuple[float, str], ...], held: bool, expected: tuple[float, float | None]
) -> None:
    decisions = [decision(*mark) for mark in marks]
    assert held_before(decisions, held, 105.0, 100.0) == expected


def test_an_account_goes_on_where_it_was() -> None:
    account = Account()
    account.resume((sample(1.0, 1, 10 * MIB), sample(2.0, 3, 30 * MIB)))
    raw = {
        "operation": 5,
        "memory_total": 512 * MIB,
        "memory_remaining": MIB,
        "memory_processed": 20 * MIB,
        "memory_iteration": 2,
    }
    taken = account.take(raw, 9.0, 300)
    assert taken is not None
    assert (taken.pass_number, taken.sent_bytes) == (3, 30 * MIB)
    assert [one.t_s for one in account.samples] == [1.0, 2.0, 9.0]


def test_what_nobody_saw_is_a_gap_in_both_charts() -> None:
    samples = tuple(sample(t) for t in (1.0, 2.0, 9.0, 10.0))
    state = replace(foreign(), gaps=((2.0, 8.5),))
    view = MigrationView(state, NOW, samples)
    for picture, curves in ((left_to_send(view), 1), (rates(view), 2)):
        pieces = [[x for x, _ in one.points] for one in picture.series]
        assert pieces == [[1.0, 2.0], [9.0, 10.0]] * curves


def test_whose_it_is_and_what_is_not_known_stands_in_its_title() -> None:
    said = title(MigrationView(foreign(), NOW), 120).text
    assert "kvm-a ⇢ ?" in said
    assert "foreign" in said
    assert "encryption not known" in said
    assert "plaintext" not in said


def test_somebody_elses_is_watched_once_and_is_none_of_ours() -> None:
    class Shown:
        state = foreign()
        samples = ()

    roster = Roster()
    roster.add(Shown())  # type: ignore[arg-type]
    assert roster.watched_uuids() == {"u-1"}
    assert roster.running_uuids() == frozenset()
    assert roster.moving() == {("u-1", "kvm-a"): 200}


class Source:
    """A host that has a job on the VM, or none."""

    name = "kvm-a"

    def __init__(self, kind: str | None) -> None:
        self.kind = kind

    async def call(self, _function: object, timeout_s: float = 5, what: str = "") -> str | None:
        return self.kind


class ToldOf:
    state = foreign()


LOCKED = HypervisorError(
    "kvm-a could not migrate: Timed out: cannot acquire state change lock.", "", OPERATION_TIMEOUT
)
REFUSED = HypervisorError(
    "kvm-a could not migrate: another migration job is already running for domain 'db-1'.", "", 55
)
OTHER = HypervisorError("kvm-a could not migrate: no route.", "", 38)


@pytest.mark.parametrize(
    ("error", "kind", "others", "lost", "theirs"),
    [
        (LOCKED, "migration out", False, True, True),
        (LOCKED, "save", False, False, False),
        (REFUSED, "migration out", False, True, True),
        (REFUSED, None, False, True, True),
        (OTHER, "migration out", False, False, False),
        (OTHER, None, True, False, True),
    ],
)
async def test_who_loses_the_race_is_told_so(
    error: HypervisorError, kind: str | None, others: bool, lost: bool, theirs: bool
) -> None:
    contest = Contest(ToldOf(), Source(kind))  # type: ignore[arg-type]
    meant = await contest.understood(error, others)
    assert contest.lost is lost
    assert ("moved by somebody else" in meant.sentence) is theirs
