"""What the lab tells its user instead of a traceback: a sentence with a remedy."""


class LabError(Exception):
    """Something did not work; the lab may be half up. Shown as it is, exit code 1."""

    exit_code = 1


class LabUsageError(LabError):
    """Refused before anything was touched: a name, rate or size that is not right."""

    exit_code = 2
