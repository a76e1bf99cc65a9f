"""What a VM's metadata says of where it may run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tags:
    """Where a VM may and should run; groups are names shared by VMs, hosts are the fleet's.

    The hard ones are kept or the VM stays; the soft ones are kept where that costs little.
    """

    never: bool = False
    """It is never moved by a plan for several VMs."""
    prefer: tuple[str, ...] = ()
    """Hosts it should run on, any of them; soft."""
    together: tuple[str, ...] = ()
    """Groups whose VMs run on one host; they are moved together, or not at all."""
    together_soft: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    """Groups of which no two VMs run on one host."""
    apart_soft: tuple[str, ...] = ()

    @property
    def grouped(self) -> bool:
        """Where others run matters to it, or where it runs to others."""
        return bool(self.together or self.together_soft or self.apart or self.apart_soft)


UNTAGGED = Tags()
