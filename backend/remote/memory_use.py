"""How much guest memory a running QEMU really holds: what a migration has to send.

libvirt tells QEMU's whole resident size, and its own buffers and translated code are in that (an
idle guest of 512 MiB: 217 MB, of which 111 MB are the guest's). The kernel's table of QEMU's
mappings shows the guest's memory by itself.
"""

import re
from dataclasses import dataclass

from backend.errors import plain
from backend.remote.shell import CommandResult, Shell, run_script

LIMIT_S = 8.0

# QEMU is found by the UUID on its command line, because names can be anything; libvirt's own list
# of processes comes first, so that a namespace's QEMU is not taken for its neighbour's. The table
# is summed up there, one line comes back. Neighbours of one kind count as one: the kernel splits
# a mapping where its flags differ (huge pages, NUMA, madvise). The smallest that is large enough
# is the guest's: translated code has its own.
_SCRIPT = r"""
export LC_ALL=C
uuid=$1 least=$2
set --
for f in /run/libvirt/qemu/*.pid; do
  pid=; read -r pid <"$f" || [ -n "$pid" ] || continue
  case $pid in *[!0-9]*) ;; *) set -- "$@" "/proc/$pid" ;; esac
done 2>/dev/null
for d in "$@" /proc/[0-9]*; do
  read -r comm <"$d/comm" || continue
  case $comm in qemu*|kvm*|*/qemu*) ;; *) continue ;; esac
  tr '\0' '\n' <"$d/cmdline" | grep -A1 -e '^-uuid$' | grep -qixF -e "$uuid" || continue
  [ -r "$d/smaps" ] || exit 5
  awk -v least="$least" '
    function judge() {
      if (size >= least && (best == "" || size < best)) { best = size; held = rss + swap }
    }
    /^[0-9a-f]+-[0-9a-f]+ / {
      split($1, ends, "-")
      kind = $2 " " $4 " " $5
      if (ends[1] != last || kind != was) { judge(); size = rss = swap = 0 }
      last = ends[2]; was = kind; seen++
    }
    /^Size:/ { size += $2 }
    /^Rss:/ { rss += $2 }
    /^Swap:/ { swap += $2 }
    /^Private_Hugetlb:/ { rss += $2 }
    /^Shared_Hugetlb:/ { rss += $2 }
    END {
      judge()
      if (!seen) exit 5
      if (best == "") exit 4
      printf "%d %d\n", best, held
    }
  ' "$d/smaps"
  exit
done 2>/dev/null
exit 3
"""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LINE = re.compile(r"(\d{1,15}) (\d{1,15})\n?")
_REASONS = {
    3: "no QEMU with its UUID was found there",
    4: "none of its mappings is as large as its memory",
    5: "our login may not read /proc/PID/smaps of QEMU there",
}


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What was found out."""

    in_use_bytes: int | None
    """Guest pages that QEMU holds, in memory or swapped out; None: not known."""
    why: str = ""
    """Why it is not known."""


async def memory_in_use(
    shell: Shell, uuid: str, memory_bytes: int, timeout_s: float = LIMIT_S
) -> MemoryUse:
    """Ask the host where the VM runs. `memory_bytes`: the VM's memory, balloon full.

    It reads /proc/PID/smaps: needs the right to trace QEMU (root, or the user QEMU runs as), and
    for a large guest in small pages about 0.2 s a 100 GiB of what it holds.

    Raises:
        HostUnreachable: The host does not answer (CallTimedOut: not in time).
    """
    if not _UUID.fullmatch(uuid) or memory_bytes <= 0:
        return MemoryUse(None, "its UUID or its memory is not known")
    least_kib = str(memory_bytes // 1024)
    return parse_memory_use(
        await run_script(shell, _SCRIPT, uuid, least_kib, timeout_s=timeout_s), memory_bytes
    )


def parse_memory_use(result: CommandResult, memory_bytes: int) -> MemoryUse:
    """What the script printed: size and holding of the mapping, in KiB."""
    found = _LINE.fullmatch(result.stdout)
    if result.exit_status == 0 and found is not None:
        return MemoryUse(min(int(found[2]) * 1024, memory_bytes))
    reason = _REASONS.get(result.exit_status)
    return MemoryUse(None, reason or plain(result.stderr) or "the answer made no sense")
