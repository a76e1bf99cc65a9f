"""What only qemu-img tells of the images that are to move to another pool."""

import json

from backend.plan.disks import choice_for, disks_of
from backend.plan.facts import Survey
from backend.remote.shell import Shell, run_script
from backend.run.survey_asking import PROBE_LIMIT_S, Asking

_INFO = r"""
export LC_ALL=C
exec qemu-img info --output=json -U -f "$2" -- "$1"
"""


async def ask_inner_snapshots(asking: Asking, facts: Survey) -> dict[str, int]:
    """How many snapshots lie inside each chosen image: a copy has none of them."""
    found: dict[str, int] = {}
    shell = asking.shell("images", asking.source)
    for disk in disks_of(facts) if shell is not None else ():
        if choice_for(facts, disk.target) is None or disk.format != "qcow2" or not disk.source:
            continue
        assert shell is not None
        count = await asking.ask("images", _snapshots(shell, disk.source), PROBE_LIMIT_S)
        if count is not None:
            found[disk.target] = count
    return found


async def _snapshots(shell: Shell, path: str) -> int | None:
    done = await run_script(shell, _INFO, path, "qcow2", timeout_s=PROBE_LIMIT_S)
    try:
        return len(json.loads(done.stdout).get("snapshots", ()))
    except (ValueError, AttributeError):
        return None
