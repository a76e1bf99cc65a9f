"""The ways to move a VM that the bench compares: virsh's and ours, each a command of its own."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backend.lab.layout import LabHost
from tests.bench.benchlab import COMMAND, ROOT, BenchError, BenchLab

VIRSH = ("migrate", "--live", "--p2p", "--tls", "--persistent", "--undefinesource")
GRACE_S = 150.0
"""After an abort a command gets this long, then it is ended."""


@dataclass(frozen=True, slots=True)
class Mover:
    """A way to move a VM: extra words for virsh, or a policy for ours."""

    name: str
    virsh_words: tuple[str, ...] = ()
    policy: str | None = None

    @property
    def ours(self) -> bool:
        return self.policy is not None


DEFAULT = Mover("virsh")
AUTO_CONVERGE = Mover("virsh auto-converge", ("--auto-converge",))
POST_COPY = Mover("virsh post-copy", ("--postcopy", "--postcopy-after-precopy"))
BALANCED = Mover("ours balanced", policy="balanced")
MUST_FINISH = Mover("ours must-finish", policy="must-finish")
MOVERS = (DEFAULT, AUTO_CONVERGE, POST_COPY, BALANCED, MUST_FINISH)


@dataclass(slots=True)
class Command:
    """A migration's command after its end."""

    wall_s: float
    code: int
    stopped: bool
    """It was aborted at its limit."""
    said: str
    """Its last line, for failures."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """The lines of `migrate --json`."""

    @property
    def verdict(self) -> dict[str, Any] | None:
        last = self.events[-1] if self.events else {}
        return last if last.get("event") == "verdict" else None


def run_mover(
    bench: BenchLab, mover: Mover, source: LabHost, target: LabHost, limit_s: float
) -> Command:
    """Run it to its end; at `limit_s` it is aborted, much later ended."""
    name = bench.vm.name
    if mover.ours:
        words = [*COMMAND, "migrate", name, "--to", target.name, "--json"]
        words += ["--policy", mover.policy or ""]

        def abort() -> None:
            bench.ferry("abort", name)
    else:
        to = f"qemu+tls://{target.name}/system"
        words = ["virsh", "-q", "-c", source.libvirt_uri, *VIRSH, *mover.virsh_words, name, to]

        def abort() -> None:
            bench.virsh(source, "domjobabort", name)

    return run_command(bench, words, limit_s, abort)


def run_command(
    bench: BenchLab, words: list[str], limit_s: float, abort: Callable[[], object]
) -> Command:
    """A command by the clock, its lines that are JSON objects as events."""
    began = time.monotonic()
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=bench.environment,
        cwd=ROOT,
    )
    stopped = False
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        stopped = True
        said = _abort(process, abort)
    except BaseException:
        process.kill()
        raise
    wall_s = time.monotonic() - began
    lines = [line for line in said.splitlines() if line.strip()]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    last = lines[-1][:300] if lines else ""
    return Command(wall_s, process.returncode, stopped, last, events)


def _abort(process: subprocess.Popen[str], abort: Callable[[], object]) -> str:
    try:
        abort()
    except BenchError as error:
        print(f"  the abort was refused: {error}", flush=True)
    try:
        return process.communicate(timeout=GRACE_S)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
