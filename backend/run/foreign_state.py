"""A migration that somebody else has begun, as a state of its own: made from its job. Pure."""

from backend.hypervisor.migrate import JobSeen
from backend.model import (
    NOT_KNOWN,
    Decision,
    Migration,
    Outcome,
    Phase,
    PhaseState,
    Policy,
    Vm,
    VmState,
)
from backend.plan.wording import seconds
from backend.run.verdict import End, Judgement, state_words

FOREIGN = "foreign"
"""In place of its policy, which is not known."""
DEFAULT_PAUSE_MS = 300
"""QEMU's, where libvirt does not tell it."""
SAME_JOB_S = 5.0
"""Two looks at one job may differ so much in when it began."""


def first_foreign_state(
    migration_id: str,
    vm: Vm,
    found: JobSeen,
    pause_limit_ms: int | None,
    bandwidth_bytes_s: int | None,
    now: float,
) -> Migration:
    """As it is found, with the limits in force. `now`: epoch seconds."""
    job, pause_ms = found.reading, pause_limit_ms or DEFAULT_PAUSE_MS
    began = now - found.age_s
    copying = job.disk_total_bytes > 0 and job.memory_total_bytes == 0
    phase = Phase.DISK if copying else Phase.MEMORY
    phases = dict.fromkeys(Phase, PhaseState.WAITING)
    phases |= {Phase.PREPARE: PhaseState.DONE, Phase.DISK: PhaseState.SKIPPED}
    if job.disk_total_bytes:
        phases[Phase.DISK] = PhaseState.DONE
    note = f"begun by somebody else {seconds(found.age_s)} ago: shown from here on, and not steered"
    return Migration(
        id=migration_id,
        vm=vm.name,
        uuid=vm.uuid,
        source=vm.host,
        target=NOT_KNOWN,
        started=began,
        policy=Policy(FOREIGN, pause_ms, "Somebody else has begun it."),
        encrypted=None,
        phase=phase,
        phases=phases | {phase: PhaseState.ACTIVE},
        called_at=began,
        memory_at=None if copying or not job.disk_total_bytes else now,
        decisions=(Decision(round(found.age_s, 3), now, "note", note),),
        pause_limit_ms=pause_ms,
        bandwidth_bytes_s=bandwidth_bytes_s,
        foreign=True,
        persistent=vm.persistent,
        state_before=vm.state if vm.state is VmState.PAUSED else VmState.RUNNING,
        autostart=vm.autostart,
    )


def same_job(state: Migration, found: JobSeen, now: float) -> bool:
    """The job on the host is still the one that `state` is of."""
    began = now - found.age_s
    return abs(began - (state.called_at or 0.0)) <= SAME_JOB_S


def moved_again(source: str) -> Judgement:
    """Of one that ended unseen, and whose VM is on its source in another migration now."""
    return Judgement(
        Outcome.UNKNOWN,
        source,
        f"How it ended is not known: no engine watched. {source} has the VM, and moves it again"
        " now, for somebody else.",
    )


def judge_alone(state: Migration, source: End | None, silent: tuple[str, ...]) -> Judgement:
    """Where its target is not known: what the source says, after all hosts of the fleet were asked
    and none that answered has the VM. `silent`: those that did not answer."""
    vm, host = state.vm, state.source
    if source is None:
        return Judgement(
            Outcome.UNKNOWN,
            None,
            f"{host} did not answer, and where it sent {vm} is not known. It is asked again until"
            " it answers.",
            settled=False,
        )
    if source.active and not source.handed_over:
        verb = "runs" if source.state is VmState.RUNNING else f"is {state_words(source)}"
        return Judgement(Outcome.STAYED, host, f"It {verb} on {host}; its job there has ended.")
    ended = source.defined and not source.handed_over and not source.active
    if ended:
        return Judgement(Outcome.STAYED, host, f"It is {state_words(source)} on {host}.")
    unheard = f" ({', '.join(silent)} did not answer)" if silent else ""
    return Judgement(
        Outcome.UNKNOWN,
        None,
        f"{host} has given it away ({state_words(source)}), and no host of this fleet that answers"
        f" has it{unheard}: it went to a host outside of this fleet, or has ended. Who began the"
        " migration knows where to; do not start it anywhere before that is clear.",
        settled=not silent,
    )
