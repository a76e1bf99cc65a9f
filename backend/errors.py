"""One exception tree. Every error an operator can meet is a sentence with a remedy.

`FerryError.sentence` says what failed, on which host, and what is true now; `remedy` what to
do; `exit_code` what the command line ends with (design.md section 4).
"""


class FerryError(Exception):
    """Something the operator is told; never shown as a traceback."""

    exit_code = 2

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence = sentence
        self.remedy = remedy


class BadInput(FerryError):
    """Refused before anything was touched: a name, rate, file or option that is not right."""


class EngineUnavailable(FerryError):
    """No engine to talk to, or one that cannot be talked to."""


class HostUnreachable(FerryError):
    """The host did not answer; says nothing about its VMs."""

    exit_code = 3


class CallTimedOut(HostUnreachable):
    """A call did not return in time. It may still take effect on the host."""


class HypervisorError(FerryError):
    """libvirt refused or failed; `code` is libvirt's VIR_ERR_* number."""

    exit_code = 1

    def __init__(self, sentence: str, remedy: str = "", code: int = 0) -> None:
        super().__init__(sentence, remedy)
        self.code = code


class VmGone(HypervisorError):
    """The VM is not on that host (any more)."""
