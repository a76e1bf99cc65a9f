"""Taking the lab down: every process, namespace, mount and file of it, and nothing else.

The guest kernel and the compiled guest in /var/cache/virt-ferry are set-up and stay.
"""

import os
import shutil
from contextlib import suppress

from backend.lab.errors import LabError, LabUsageError
from backend.lab.host import remove_namespaces
from backend.lab.layout import MAX_HOSTS, NETNS_ROOT, RUN_ROOT, STATE_ROOT, Lab
from backend.lab.network import remove_network
from backend.lab.processes import end_processes, is_namespace, lab_processes
from backend.lab.settings import locked

_ROUNDS = 20


def take_down(name: str) -> bool:
    """Remove the lab; False if there was nothing of it. Works without its settings file."""
    if os.geteuid() != 0:
        raise LabUsageError("The lab is root's: take it down as root.")
    lab = Lab(name, MAX_HOSTS)
    with locked(lab, create=False):
        found = lab.state.exists() or lab.run.exists() or _has_namespaces(lab)
        _end_all(lab)
        remove_namespaces(lab)
        remove_network(lab)
        if lab.state.exists():
            shutil.rmtree(lab.state)
    for folder in (STATE_ROOT, RUN_ROOT):
        with suppress(OSError):
            folder.rmdir()
    return found


def _has_namespaces(lab: Lab) -> bool:
    return any(is_namespace(NETNS_ROOT / name) for name in lab.netns_names)


def _end_all(lab: Lab) -> None:
    """Until none is left: what is being killed may start another one meanwhile."""
    for _ in range(_ROUNDS):
        processes = lab_processes(lab)
        if not processes:
            return
        end_processes(processes)
    names = ", ".join(f"{p.command} ({p.pid})" for p in processes)
    raise LabError(f"The lab's processes keep coming back: {names}. Try again.")
