"""How the console looks: two palettes of its own, and the terminal's sixteen colours.

The palettes are of the 256 colours every xterm has: sent as such they are what SSH sessions
show anyway (COLORTERM does not travel), in half the bytes of 24-bit colours.
"""

from collections.abc import Mapping
from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="ferry-dark",
    primary="#5fafd7",
    success="#87d787",
    warning="#d7af5f",
    error="#ff5f5f",
    accent="#5fafd7",
    foreground="#d0d0d0",
    background="#121212",
    surface="#121212",
    panel="#262626",
    variables={"ferry-dim": "#808080", "ferry-cursor": "#3a3a3a", "ferry-blur": "#262626"},
)
LIGHT = Theme(
    name="ferry-light",
    primary="#005faf",
    success="#008700",
    warning="#875f00",
    error="#d70000",
    accent="#005faf",
    foreground="#262626",
    background="#eeeeee",
    surface="#eeeeee",
    panel="#dadada",
    dark=False,
    variables={"ferry-dim": "#6c6c6c", "ferry-cursor": "#afd7ff", "ferry-blur": "#dadada"},
)
SIXTEEN = replace(
    BUILTIN_THEMES["ansi-dark"],
    name="ferry-16",
    primary="ansi_cyan",
    variables={
        **BUILTIN_THEMES["ansi-dark"].variables,
        "ferry-dim": "ansi_default",
        "ferry-cursor": "ansi_default",
        "ferry-blur": "ansi_default",
    },
)
ALL = (DARK, LIGHT, SIXTEEN)


def many_colours(environ: Mapping[str, str]) -> bool:
    """Whether the terminal has 256 colours and may use them."""
    many = "256" in environ.get("TERM", "") or bool(environ.get("COLORTERM"))
    return many and "NO_COLOR" not in environ


def choose(environ: Mapping[str, str]) -> str:
    """The terminal's own colours where there are few, or none are wanted."""
    if (wanted := environ.get("VIRT_FERRY_THEME", "")) in {theme.name for theme in ALL}:
        return wanted
    return DARK.name if many_colours(environ) else SIXTEEN.name
