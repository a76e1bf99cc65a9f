"""Short makers of findings, so that a check reads as its rule."""

from backend.model import Finding, Severity


def ok(code: str, check: str, sentence: str) -> Finding:
    """Checked, and it is as it must be."""
    return Finding(code, check, Severity.OK, sentence)


def warn(code: str, check: str, sentence: str, remedy: str = "") -> Finding:
    """Worth knowing before the start, which it does not forbid."""
    return Finding(code, check, Severity.WARN, sentence, remedy)


def block(code: str, check: str, sentence: str, remedy: str) -> Finding:
    """It would fail, or harm the VM: no start."""
    return Finding(code, check, Severity.BLOCK, sentence, remedy)
