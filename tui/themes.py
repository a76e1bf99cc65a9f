"""How the console looks: two palettes of its own, and the terminal's sixteen colours."""

from collections.abc import Mapping
from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="ferry-dark",
    primary="#5fafd7",
    success="#87c38a",
    warning="#e0b35a",
    error="#ff7b72",
    accent="#5fafd7",
    foreground="#d0d4da",
    background="#101418",
    surface="#101418",
    panel="#1b222a",
    variables={"ferry-dim": "#7d8894", "ferry-cursor": "#24384a", "ferry-blur": "#1b242d"},
)
LIGHT = Theme(
    name="ferry-light",
    primary="#005f9e",
    success="#1a7f37",
    warning="#8a5a00",
    error="#c1121f",
    accent="#005f9e",
    foreground="#20262d",
    background="#fafaf7",
    surface="#fafaf7",
    panel="#ecebe4",
    dark=False,
    variables={"ferry-dim": "#6b7280", "ferry-cursor": "#cfe3f5", "ferry-blur": "#e6ebef"},
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


def choose(environ: Mapping[str, str]) -> str:
    """The terminal's own colours where there are few, or none are wanted."""
    if (wanted := environ.get("VIRT_FERRY_THEME", "")) in {theme.name for theme in ALL}:
        return wanted
    many = "256" in environ.get("TERM", "") or bool(environ.get("COLORTERM"))
    return DARK.name if many and "NO_COLOR" not in environ else SIXTEEN.name
