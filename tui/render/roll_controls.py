"""What an operator can do to a roll: why not, what a key means now, what is asked before."""

from backend.model import EvacuationKind, RollControl, RollHost, RollState, RollStep
from tui.render import roll_words as words
from tui.render.ink import Ink, Line, Span, line
from tui.render.roll_lines import listed
from tui.render.roll_view import RollView

_AGAIN = {
    RollStep.EMPTYING: "tries again to empty it",
    RollStep.HOOK: "runs the hook again",
    RollStep.BACK: "waits for it again",
    RollStep.RETURNING: "tries again to bring its VMs home",
}


def why_not(view: RollView, control: RollControl) -> str:
    """Why that cannot be now; empty where it can."""
    roll, host = view.roll, view.roll.current
    if not roll.state.open or host is None:
        return "The roll has ended: `virt-ferry roll HOST…` begins another."
    if roll.aborted:
        return "The roll is to end: nothing more is begun."
    return _why_no_skip(view, host) if control is RollControl.SKIP else ""


def _why_no_skip(view: RollView, host: RollHost) -> str:
    if host.step not in (RollStep.HOOK, RollStep.BACK):
        return "Only a hook, or the wait for a host, can be left out."
    if view.your_turn:
        return "There is no hook to leave out: p goes on when your work is done."
    if view.roll.state is RollState.RUNNING or view.hook_runs:
        what = "The hook" if host.step is RollStep.HOOK else "The wait"
        return f"{what} still goes on: it can be left out once it has failed."
    return ""


def wanted(view: RollView) -> RollControl:
    """What the one key for both does now."""
    return RollControl.PAUSE if view.roll.state is RollState.RUNNING else RollControl.RESUME


def resume_label(view: RollView) -> str:
    """Of that key, in the footer."""
    if wanted(view) is RollControl.PAUSE:
        return "pause"
    if view.your_turn:
        return "work is done"
    return "try again" if view.roll.state is RollState.STOPPED else "go on"


def skip_label(view: RollView) -> str:
    """Of the other one."""
    host = view.roll.current
    step = host.step if host and not view.your_turn else RollStep.WAITING
    return {RollStep.HOOK: "skip the hook", RollStep.BACK: "do not wait"}.get(step, "skip")


def ways(view: RollView) -> list[Span | str]:
    """The keys that go on, or end it; nothing while it goes on by itself."""
    roll, host = view.roll, view.roll.current
    if host is None or roll.aborted or roll.state in (RollState.RUNNING, RollState.ENDED):
        return []
    spans: list[Span | str] = [("p", Ink.KEY), f" {_resumes(view, host)}"]
    if not why_not(view, RollControl.SKIP):
        what = "the hook" if host.step is RollStep.HOOK else "waiting"
        spans += [(" · ", Ink.DIM), ("x", Ink.KEY), f" goes on without {what}"]
    return [*spans, (" · ", Ink.DIM), ("a", Ink.KEY), " ends the roll"]


def _resumes(view: RollView, host: RollHost) -> str:
    if view.your_turn:
        return "when your work is done: its VMs come home"
    if view.roll.state is not RollState.STOPPED and not runs_hook_again(view):
        return "goes on"
    if host.step is RollStep.HOOK and not view.roll.wish.hook:
        return "goes on"
    return _AGAIN.get(host.step, "tries again")


def runs_hook_again(view: RollView) -> bool:
    """Going on would run a hook there that has begun before."""
    host = view.roll.current
    began = host is not None and host.step is RollStep.HOOK and host.hook_began is not None
    return began and bool(view.roll.wish.hook) and not view.hook_runs


# -- questions ---------------------------------------------------------------------------------


def question(view: RollView, control: RollControl) -> list[Line]:
    """What is asked before; nothing where it is done at once."""
    host = view.roll.current
    if host is None or control is RollControl.PAUSE:
        return []
    if control is RollControl.ABORT:
        return _abort(view, host)
    if control is RollControl.SKIP:
        return _skip(host)
    if view.your_turn:
        said = f" {host.host} is to answer, then its VMs come home and its maintenance ends."
        return [_yes_no(f"Is your work on {host.host} done?", "it is"), line(said)]
    return _hook_again(view, host) if runs_hook_again(view) else []


def _hook_again(view: RollView, host: RollHost) -> list[Line]:
    if host.hook is not None:
        last = f" Its last run {words.hook_words(host.hook)}."
    else:
        last = " How its last run ended is not known: it may still go on there."
    return [
        _yes_no(f"Run the hook on {host.host} again?", "run it"),
        line(last),
        line((f" {_short(view.roll.wish.hook)}", Ink.DIM)),
    ]


def _skip(host: RollHost) -> list[Line]:
    if host.step is RollStep.HOOK:
        asked = f"Go on without the hook on {host.host}?"
        said = f" {host.host} is to answer, then its VMs come home, whatever the hook has done."
    else:
        asked = f"Go on without waiting for {host.host}?"
        said = " Its VMs come home at once, also where it has not booted anew."
    return [_yes_no(asked, "go on"), line(said)]


def _abort(view: RollView, host: RollHost) -> list[Line]:
    said = []
    if view.run is not None and view.run.state.open:
        home = view.run.kind is EvacuationKind.RETURN
        stay = "is not brought home" if home else f"stays on {host.host}"
        said.append(f"What moves is asked to stay; what waits {stay}.")
    if view.hook_runs:
        said.append(f"The hook on {host.host} is not waited for: it may go on there.")
    if host.left:
        said.append(f"VMs of {host.host} that are away stay there, until you bring them home.")
    if view.following:
        said.append(f"Not begun: {listed(view.following)}.")
    lines = [line(f" {' '.join(said)}")] if said else []
    return [_yes_no("End this roll?", "end it"), *lines]


def _short(hook: str) -> str:
    return hook if len(hook) <= 200 else f"{hook[:200]} …"


def _yes_no(asked: str, yes: str) -> Line:
    return line((f" {asked} ", Ink.BOLD), ("y", Ink.KEY), f" {yes}  ", ("n", Ink.KEY), " back")
