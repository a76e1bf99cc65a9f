"""One host of a roll: what its hook said last, where its VMs are."""

from backend.model import RollHost, RollStep
from tui.render import roll_view, units
from tui.render import roll_words as words
from tui.render.ink import Ink, Line, Span, fit, spans_of, wrap
from tui.render.roll_view import RollView

_LABEL = 8


def host_title(view: RollView, host: RollHost) -> tuple[Span | str, ...]:
    """`kvm-b  hook runs`."""
    return (host.host, ("  ", Ink.DIM), roll_view.step_span(view, host))


def host_lines(view: RollView, host: RollHost, width: int, most: int | None = None) -> list[Line]:
    """In `most` rows, of what the hook said only the last lines that have room."""
    facts = [
        row for label, said, ink in _facts(view, host) for row in _row(label, said, ink, width)
    ]
    output = host.hook.lines if host.hook is not None else ()
    said = [row for text in output for row in _row("", text, Ink.DIM, width)]
    if most is None:
        return facts + said
    room = most - len(facts)
    return facts[:most] + (said[-room:] if room > 0 else [])


def _facts(view: RollView, host: RollHost) -> list[tuple[str, str, Ink]]:
    rows: list[tuple[str, str, Ink]] = []
    if host.left and host.step is not RollStep.DONE:
        rows.append(("away", _away(view, host), Ink.TEXT))
    here = [vm for vm in view.fleet.vms if vm.host == host.host]
    on_it = [vm.name if vm.state.active else f"{vm.name} (off)" for vm in here]
    rows.append(("on it", ", ".join(on_it) or "no VM", Ink.DIM))
    if host.hook is not None:
        rows.append(("hook", words.hook_words(host.hook), Ink.TEXT))
    return rows


def _away(view: RollView, host: RollHost) -> str:
    left = set(host.left)
    seen = [vm for vm in view.fleet.vms if vm.uuid in left]
    said = [f"{vm.name} on {vm.host}" for vm in seen if vm.host != host.host]
    unseen = len(left - {vm.uuid for vm in seen})
    said += [f"{units.counted(unseen, 'VM')} not seen anywhere now"] * bool(unseen)
    return ", ".join(said) or "no VM: all are home"


def _row(label: str, said: str, ink: Ink, width: int) -> list[Line]:
    head = fit(spans_of(" ", (label, Ink.DIM)), _LABEL)
    return [Line(p) for p in wrap((*head, *spans_of((said, ink))), max(width - 1, 1), _LABEL)]
