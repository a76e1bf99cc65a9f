"""How much room the screens need, and what is said where there is less."""

LEAST_COLUMNS, LEAST_ROWS = 64, 18
"""Below it a screen would hide what must be seen."""


def too_little(columns: int, rows: int) -> str:
    """What is wrong with a terminal of that size; empty: nothing."""
    if columns >= LEAST_COLUMNS and rows >= LEAST_ROWS:
        return ""
    return (
        f"This terminal has {columns} columns and {rows} rows; the console needs"
        f" {LEAST_COLUMNS} and {LEAST_ROWS}."
    )


REMEDY = "Make it larger, or its letters smaller; `virt-ferry vms` and `virt-ferry jobs` need none."
