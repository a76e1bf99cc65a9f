"""From the facts of a survey to settings and forecast for one VM and one target."""

import logging
from dataclasses import dataclass, replace

from backend.model import (
    Band,
    Finding,
    Forecast,
    MoveOptions,
    Policy,
    Reading,
    TrackRecord,
    Tuning,
    VmState,
)
from backend.plan.facts import Survey
from backend.plan.forecast import can_be_held, forecast_before
from backend.plan.outset import Outset, Views, first_pass_bytes, views
from backend.plan.policy import deadline_s
from backend.plan.preflight_settings import settings
from backend.plan.remarks import remarks
from backend.plan.running import Prior
from backend.plan.tuning import choose
from backend.plan.writes import Count
from backend.run.history import History
from backend.run.links import Links

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """All that a plan says of the course of the migration."""

    tuning: Tuning
    forecast: Forecast
    remarks: tuple[str, ...]
    findings: tuple[Finding, ...]
    can_hold: bool
    prior: Prior
    record: TrackRecord | None
    link_bytes_s: Band | None = None
    """What the disks, too, can be sent at."""


def foresee(
    facts: Survey,
    policy: Policy,
    options: MoveOptions,
    links: Links,
    history: History,
    beside: int = 0,
) -> Foreseen:
    """Pure but for what `links` and `history` remember; `beside`: VMs that start with it and
    share its link."""
    outset = _outset(facts, options, links, history)
    outset = replace(outset, sharing=outset.sharing + beside)
    seen = views(outset)
    tuning = choose(outset, policy, seen, options.hold)
    log.info("forecast of %s: %s; %s", facts.vm.uuid, outset, seen)
    deadline = deadline_s(policy, facts.vm.memory_bytes)
    forecast = forecast_before(outset, seen, policy, tuning, deadline)
    can_hold = can_be_held(seen) and not outset.paused
    return Foreseen(
        tuning,
        forecast,
        remarks(policy, tuning, forecast, options, can_hold),
        settings(facts, policy, options, forecast, can_hold),
        can_hold,
        _prior(outset, seen, tuning, policy),
        history.record(),
        _link(seen),
    )


def _link(seen: Views | None) -> Band | None:
    if seen is None:
        return None
    return Band(seen.unlucky.rate_bytes_s, seen.likely.rate_bytes_s, seen.lucky.rate_bytes_s)


def _outset(facts: Survey, options: MoveOptions, links: Links, history: History) -> Outset:
    vm, measures = facts.vm, facts.measures
    link = links.rate(facts.source.name, facts.target.name, (facts.source, facts.target))
    cpu = measures.cpu_percent if measures.cpu_percent is not None else vm.cpu_percent
    return Outset(
        memory_bytes=vm.memory_bytes,
        in_use_bytes=measures.in_use_bytes,
        resident_bytes=vm.memory_used_bytes,
        link_bytes_s=link.rate_bytes_s if link else None,
        link_origin=link.origin.value if link else "",
        link_why="" if link else facts.why("link"),
        bandwidth_bytes_s=options.bandwidth_bytes_s,
        sharing=measures.sharing_link,
        counts=tuple(_count(reading) for reading in measures.readings),
        past=history.past_of(vm.uuid),
        pauses_ms=history.pauses_ms(facts.target.name),
        cpu_part=None if cpu is None else cpu / 100,
        paused=vm.state is VmState.PAUSED,
        encrypted=facts.encrypted,
    )


def _count(reading: Reading) -> Count:
    """The rounding of QEMU's figures counts as part of the counting error."""
    step = max(reading.resolution_bytes, reading.rounding_bytes)
    return Count(reading.period_s, reading.unique_bytes, step)


def _prior(outset: Outset, seen: Views | None, tuning: Tuning, policy: Policy) -> Prior:
    likely = seen.likely if seen else None
    return Prior(
        counts=outset.counts,
        first_pass_bytes=first_pass_bytes(outset).mid,
        most_bytes=float(outset.in_use_bytes or outset.memory_bytes),
        cpu_part=likely.cpu_part if likely else 1.0,
        throttle_start_percent=tuning.throttle_start_percent,
        link_bytes_s=likely.rate_bytes_s if likely else None,
        pauses_ms=outset.pauses_ms,
        allowed_ms=policy.pause_ms,
    )
