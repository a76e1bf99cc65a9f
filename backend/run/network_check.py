"""After the switchover: does the network know that the VM is at the target now?

Two looks: its taps on the target are up, in their bridge, and the bridge has learned its MAC
there; and its address answers the outage probe.
"""

import asyncio
import re
from dataclasses import dataclass

from backend.errors import FerryError, plain
from backend.fleet.host import HostWatch
from backend.hypervisor.vm_network import Tap, taps
from backend.model import Vm
from backend.remote.shell import Shell, run_script
from backend.run.outage import TAIL_S, OutageProbe

_LOOK_LIMIT_S = 3.0
_MAX_TAPS = 8
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_BRIDGE = re.compile(r"[A-Za-z0-9_.:@-]{1,40}")

# QEMU announces the VM's MAC five times within a second: wait that long for the bridge to learn.
TAP_SCRIPT = r"""
export LC_ALL=C
while [ $# -ge 2 ]; do
  d=$1 mac=$2; shift 2
  read -r flags 2>/dev/null <"/sys/class/net/$d/flags" || { echo "$d gone - -"; continue; }
  up=down; [ $(($flags & 1)) = 1 ] && up=up
  m=$(readlink "/sys/class/net/$d/master"); m=${m##*/}
  learned=-
  if [ "$m" = ovs-system ]; then m=$(ovs-vsctl --timeout=2 port-to-br "$d" 2>/dev/null)
  elif [ -n "$m" ] && command -v bridge >/dev/null 2>&1; then
    for try in 1 2 3 4 5; do
      learned=$(bridge fdb show br "$m" 2>/dev/null | while read -r a _ p rest; do
        case "$rest" in *self*|*permanent*) continue ;; esac
        [ "$a" = "$mac" ] && { echo "$p"; break; }
      done)
      [ "$learned" = "$d" ] && break
      sleep 0.2
    done
  fi
  echo "$d $up ${m:--} ${learned:-nowhere}"
done
"""


@dataclass(frozen=True, slots=True)
class TapFacts:
    """One tap as the target host sees it."""

    device: str
    state: str
    """up, down, gone."""
    bridge: str | None
    """What it is a port of."""
    learned: str | None
    """The port behind which its bridge has seen the VM's MAC; `nowhere`; None: not known."""


async def check_network(target: HostWatch, vm: Vm, probe: OutageProbe) -> str:
    """A sentence for the verdict, within about 5 s. Never raises.

    It waits for `probe.finish()`, which may be awaited elsewhere at the same time.
    """
    _, seen = await asyncio.gather(probe.finish(), _look(target, vm))
    return f"{answer_words(probe, vm)}; {seen}"


def answer_words(probe: OutageProbe, vm: Vm) -> str:
    """Whether the address answers since the move. Silence is news only if it answered before."""
    found = probe.address
    if found is None or found.value is None:
        return f"whether {vm.name} answers is not known: it has no known address"
    if not probe.answered_before:
        return f"{found.value} did not answer before the move either"
    after_s = probe.answered_after_s
    if after_s is not None:
        return f"{found.value} answered {after_s:.2f} s after the move"
    if probe.broke:
        return f"whether {found.value} answers is not known: the probe of it broke off"
    return (
        f"{found.value} has not answered within {TAIL_S:.0f} s: "
        "check its network on the target, and the switches between"
    )


async def _look(target: HostWatch, vm: Vm) -> str:
    try:
        found = await target.call(lambda conn: taps(conn, vm.uuid), 5.0, "show its taps")
        usable = [tap for tap in found if _usable(tap)][:_MAX_TAPS]
        if not usable:
            return f"it has no tap on {target.name} to check"
        shell = target.shell
        facts = await probe_taps(shell, usable) if shell is not None else ()
    except FerryError as error:
        return f"its taps on {target.name} could not be looked at: {plain(error.sentence, 160)}"
    by_device = {one.device: one for one in facts}
    said = [tap_words(tap, by_device.get(tap.device), target.name) for tap in usable]
    return "; ".join(dict.fromkeys(said))


def _usable(tap: Tap) -> bool:
    return bool(_DEVICE.fullmatch(tap.device) and _MAC.fullmatch(tap.mac))


async def probe_taps(shell: Shell, wanted: list[Tap]) -> tuple[TapFacts, ...]:
    """What a host says of its taps. Raises HostUnreachable, BadDocument."""
    words = [word for tap in wanted for word in (tap.device, tap.mac)]
    answer = await run_script(shell, TAP_SCRIPT, *words, timeout_s=_LOOK_LIMIT_S)
    found = (parse_tap(line) for line in answer.stdout.splitlines())
    return tuple(one for one in found if one is not None)


def parse_tap(line: str) -> TapFacts | None:
    """`DEVICE up|down|gone BRIDGE|- PORT|nowhere|-`."""
    words = line.split()
    if len(words) != 4 or words[1] not in ("up", "down", "gone"):
        return None
    if not all(word == "-" or _BRIDGE.fullmatch(word) for word in words):
        return None
    device, state, bridge, learned = words
    return TapFacts(
        device,
        state,
        None if bridge == "-" else bridge,
        None if learned == "-" else learned,
    )


def tap_words(tap: Tap, facts: TapFacts | None, host: str) -> str:
    """One clause: where its MAC is, or what is wrong with its tap."""
    if facts is None:
        where = f" in {plain(tap.bridge, 40)}" if tap.bridge else ""
        return f"its interface on {host} is {tap.device}{where}, not looked at there"
    if facts.state != "up":
        return f"its interface {tap.device} on {host} is {facts.state}: check it there"
    if facts.bridge is None:
        if not tap.bridge:
            return f"its interface {tap.device} on {host} is up"
        return f"its interface {tap.device} is in no bridge of {host}: add it to {tap.bridge}"
    if tap.bridge and facts.bridge != tap.bridge:
        return f"its interface {tap.device} is in {facts.bridge} of {host}, not in {tap.bridge}"
    if facts.learned == tap.device:
        return f"its MAC is on {facts.bridge} of {host}"
    if facts.learned is None:
        return f"its interface is in {facts.bridge} of {host}"
    if facts.learned == "nowhere":
        return f"{facts.bridge} of {host} has not seen its MAC yet (it has sent nothing)"
    return (
        f"{facts.bridge} of {host} still sends its MAC to {facts.learned}, not to {tap.device}: "
        "it is found again when the VM sends something"
    )
