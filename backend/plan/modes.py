"""Which kind of move a VM gets, and which kinds there are for it. Pure."""

from backend.model import Mode, MoveOptions, Vm, VmState

MOVED_WHILE_OFF = (Mode.COLD, Mode.RESTART)
"""Its QEMU does not run while its disks are copied."""


def mode_of(vm: Vm, options: MoveOptions) -> Mode:
    """What the operator asked for; else live, and cold for a VM that is shut off."""
    if options.mode is not None:
        return options.mode
    return Mode.COLD if vm.state is VmState.SHUT_OFF else Mode.LIVE
