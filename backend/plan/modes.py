"""Which kind of move a VM gets, and which kinds there are for it. Pure."""

from backend.model import Mode, MoveOptions, Vm, VmState

MOVED_WHILE_OFF = (Mode.COLD, Mode.RESTART)
"""Its QEMU does not run while its disks are copied."""


def moved_while_off(mode: Mode, state: VmState) -> bool:
    """Disks of a VM that is in that state when it is planned are copied while no QEMU has them."""
    return mode in MOVED_WHILE_OFF or (mode is Mode.STORAGE and state is VmState.SHUT_OFF)


def mode_of(vm: Vm, options: MoveOptions) -> Mode:
    """What the operator asked for; else live, and cold for a VM that is shut off."""
    if options.mode is not None:
        return options.mode
    return Mode.COLD if vm.state is VmState.SHUT_OFF else Mode.LIVE
