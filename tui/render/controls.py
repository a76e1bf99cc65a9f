"""What can be done to a running migration: why not, and what it would mean. Pure."""

from backend.model import Control, Migration, Mode, Phase
from tui.render import units
from tui.render.ink import Ink, Line, Span, line
from tui.render.migration_lines import MigrationView

ENDED = "This migration has ended."


def why_not(m: Migration, *wanted: Control) -> str:
    """Why none of these can be done now, as a sentence; empty when one can."""
    if m.verdict is not None and not m.verdict.again:
        return ENDED
    if any(control in m.controls for control in wanted):
        return ""
    if not m.running:
        return ENDED
    return _by_phase(m, wanted[0]) or _by_control(m, wanted[0])


def _by_phase(m: Migration, control: Control) -> str:
    if control is Control.ABORT and m.abort_asked:
        return "The abort is asked for already: both hosts are letting go."
    if m.recoverable:
        return f"Its post-copy broke and {m.vm} stands still: recover it, nothing else helps."
    if m.phase is Phase.VERIFY:
        return f"Too late: both hosts are being asked where {m.vm} runs now."
    if m.idle or m.mode in (Mode.COLD, Mode.RESTART):
        return _when_off(m, control)
    if m.called_at is None:
        return f"{m.target} is still being prepared; nothing has been sent yet."
    if m.phase is Phase.DISK and control is not Control.RECOVER:
        return _while_copying(m, control)
    if m.post_copy and control is not Control.RECOVER:
        return f"{m.vm} runs on {m.target} already, only its memory follows: no way back."
    return ""


def _when_off(m: Migration, control: Control) -> str:
    if control in (Control.ABORT, Control.BANDWIDTH):
        if m.idle:
            return f"Too late: the definition of {m.vm} gets its new images."
        return f"Too late: {m.source} is letting go of {m.vm}."
    return f"{m.vm} does not run while it is moved: there is nothing to steer."


def _while_copying(m: Migration, control: Control) -> str:
    match control:
        case Control.BANDWIDTH:
            return (
                "The disks are being copied, and libvirt sets a mirror's rate only at its start:"
                " limit it before the move, or once the memory is sent."
            )
        case Control.PAUSE_LIMIT:
            return f"{m.vm} is held: its pause limit keeps it from switching over."
    return "The disks are being copied; the memory has not begun."


def _by_control(m: Migration, control: Control) -> str:
    early = "The first bytes have not been sent yet." if m.sample is None else ""
    if m.foreign and control is not Control.SUSPEND:
        return "Somebody else has begun it: it is not steered from here."
    match control:
        case Control.RECOVER:
            return "Nothing is broken, so there is nothing to recover."
        case Control.POST_COPY:
            if m.tuning is not None and m.tuning.post_copy:
                return early
            return (
                f"The policy {m.policy.name} does not permit post-copy, and it can only be"
                " permitted at the start: abort, and move it under must-finish."
            )
        case Control.SUSPEND:
            return f"{m.vm} is suspended already." if m.suspended else early
        case Control.HOLD if m.suspended:
            return f"{m.vm} is suspended: it goes on only at {m.target}."
        case Control.HOLD if m.tuning and m.tuning.throttle_start_percent is not None:
            return f"A hold would throttle {m.vm} ever more: abort, and plan it anew with a hold."
        case Control.HOLD:
            return f"{m.vm} writes too little to be held: QEMU ends as soon as nothing is left."
    return "The engine does not offer that now."


def rest_band_s(view: MigrationView) -> tuple[float, float] | None:
    """Sending what is left now, and with what was written since the pass began; seconds."""
    if not view.samples or view.samples[-1].rate_bytes_s <= 0:
        return None
    now = view.samples[-1]
    began = next(s.t_s for s in view.samples if s.pass_number == now.pass_number)
    written = (now.dirty_bytes_s or 0.0) * (now.t_s - began)
    most = min(now.remaining_bytes + written, float(max(now.total_bytes, now.remaining_bytes)))
    return now.remaining_bytes / now.rate_bytes_s, most / now.rate_bytes_s


def _yes_no(question: str, yes: str, no: str) -> Line:
    head: Span = (f" {question} ", Ink.BOLD)
    return line(head, ("y", Ink.KEY), f" {yes}  ", ("n", Ink.KEY), f" {no}")


def post_copy_question(view: MigrationView) -> list[Line]:
    """What there is to know before there is no way back."""
    m, rest = view.migration, rest_band_s(view)
    left = f", about {units.size(m.sample.remaining_bytes)}" if m.sample else ""
    spans = f" in {_seconds(rest)}" if rest else ""
    return [
        _yes_no(f"Switch {m.vm} to post-copy now?", "switch", "go on copying"),
        line(
            f" It runs on {m.target} at once and fetches the rest{left}, from {m.source}{spans};"
            " it is slow meanwhile. There is no way back and no abort."
        ),
        line(
            (" ! ", Ink.WARN),
            f"If the link breaks then, {m.vm} stands still until it is recovered;"
            f" if {m.source} or {m.target} dies then, {m.vm} is lost.",
        ),
    ]


def suspend_question(view: MigrationView) -> list[Line]:
    """The pause that a suspend would make."""
    m, rest = view.migration, rest_band_s(view)
    long = f"for about {_seconds(rest)}" if rest else "for a time that is not known yet"
    left = f" ({units.size(m.sample.remaining_bytes)} left)" if m.sample else ""
    return [
        _yes_no(f"Suspend {m.vm} until it has moved?", "suspend", "go on"),
        line(
            f" It stands still {long}{left}, then goes on at {m.target};"
            f" allowed by {m.policy.name}: a pause of {m.policy.pause_ms:,} ms."
        ),
    ]


def switch_question(view: MigrationView) -> list[Line]:
    """The end of a hold."""
    m = view.migration
    pause = m.outlook.pause_ms if m.outlook else None
    said = f", with a pause of {units.band_ms(pause)}" if pause else ""
    return [
        _yes_no(f"Switch {m.vm} over now?", "switch over", "keep holding"),
        line(f" It ends the hold: as soon as little enough is left it runs on {m.target}{said}."),
    ]


def again_question(view: MigrationView) -> list[Line]:
    """What can only be set at the start: abort, then a new plan."""
    m = view.migration
    return [
        _yes_no(f"Abort moving {m.vm} and plan it anew?", "abort and plan", "go on"),
        line(
            f" It stays on {m.source} until you start the new plan, where policy, throttle,"
            " post-copy and streams are chosen anew; what was sent is thrown away."
        ),
    ]


def abort_question(view: MigrationView, near: bool) -> list[Line]:
    """`near`: it is switching over."""
    m = view.migration
    if not m.running:
        return [
            _yes_no(f"Give up moving {m.vm} to {m.target}?", "give up", "try again"),
            line(f" It stays on {m.source}; it is not tried again when the link is back."),
        ]
    late = " It is switching over: the abort may come too late." if near else ""
    state = "is resumed there" if m.suspended else "runs on"
    return [
        _yes_no(f"Abort moving {m.vm} to {m.target}?", "abort", "go on"),
        line(f" It stays on {m.source} and {state}; what was sent is thrown away.{late}"),
    ]


def _seconds(band: tuple[float, float]) -> str:
    low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in band)
    return f"{low} s" if low == high else f"{low}–{high} s"
