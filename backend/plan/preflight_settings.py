"""Settings that cannot work, or would not help, with this VM between these hosts. Pure.

What libvirt or QEMU would refuse after the start is refused here, before it.
"""

from backend.model import Finding, Forecast, MoveOptions, Policy, VmState
from backend.plan.facts import Survey
from backend.plan.found import block, ok, warn
from backend.plan.wording import ms_band, seconds_band


def settings(
    facts: Survey,
    policy: Policy,
    options: MoveOptions,
    forecast: Forecast,
    can_hold: bool,
) -> tuple[Finding, ...]:
    """Findings about the policy and the operator's options; good news in one line."""
    found = [
        *_named(facts, policy, options),
        *_post_copy(facts, policy),
        *_streams(policy),
        *_hold(facts, options, forecast, can_hold),
        *_converges(policy, forecast),
        *_pauses(policy, forecast),
    ]
    return tuple(found) or (ok("settings", "settings", f"{policy.name} can be kept"),)


def _named(facts: Survey, policy: Policy, options: MoveOptions) -> list[Finding]:
    wanted = facts.vm.policy
    if options.policy is not None or wanted is None or wanted == policy.name:
        return []
    return [
        warn(
            "policy-unknown",
            "settings",
            f"its metadata names the policy {wanted!r}, which there is not: {policy.name} is used",
            "Add it to the fleet file, or name another with --policy.",
        )
    ]


def _post_copy(facts: Survey, policy: Policy) -> list[Finding]:
    if not policy.post_copy:
        return []
    found = []
    if policy.streams > 1:
        found.append(
            block(
                "post-copy-streams",
                "settings",
                "post-copy and several streams do not go together",
                "Set streams = 1 or post_copy = false in the policy.",
            )
        )
    if facts.vm.state is VmState.PAUSED:
        found.append(
            warn(
                "post-copy-paused",
                "settings",
                "the VM is paused: post-copy is not used, it would bring nothing",
            )
        )
    hugepages = facts.definition is not None and facts.definition.hugepage_bytes is not None
    if hugepages:
        found.append(
            warn(
                "post-copy-hugepages",
                "settings",
                "its memory is in huge pages: after the switch it waits for whole ones",
                "Expect longer stalls, or choose another policy.",
            )
        )
    return found


def _streams(policy: Policy) -> list[Finding]:
    if policy.compression and policy.streams > 1:
        return [
            warn(
                "compression-streams",
                "settings",
                "compression has no effect with several streams",
                "Set streams = 1 or compression = false in the policy.",
            )
        ]
    return []


def _hold(facts: Survey, options: MoveOptions, forecast: Forecast, can_hold: bool) -> list[Finding]:
    if not options.hold or can_hold:
        return []
    takes = f", which takes {seconds_band(forecast.total_s)}" if forecast.total_s else ""
    return [
        block(
            "hold-quiet",
            "settings",
            f"{facts.vm.name} writes too little to be held: QEMU switches over as soon as"
            f" nothing is left{takes}",
            "Leave --hold out, or name the time of the pause with --at.",
        )
    ]


def _converges(policy: Policy, forecast: Forecast) -> list[Finding]:
    if forecast.converges:
        return []
    return [
        warn(
            "will-not-converge",
            "settings",
            f"it will not converge under {policy.name}: {forecast.needs}",
            "Choose another policy, or expect it to stay.",
        )
    ]


def _pauses(policy: Policy, forecast: Forecast) -> list[Finding]:
    """The likely pause is above what the policy allows."""
    pause = forecast.pause_ms
    if not forecast.converges or pause is None or pause.mid <= policy.pause_ms:
        return []
    return [
        warn(
            "pause-above",
            "settings",
            f"a pause of {ms_band(pause)} is likely, {policy.name} allows {policy.pause_ms:,} ms",
            "Allow a longer one (--pause-ms), choose another policy, or expect it to take longer.",
        )
    ]
