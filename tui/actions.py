"""What an operator can do on a screen: one table from which come keys, footer, help and palette."""

from dataclasses import dataclass

from textual.binding import Binding

_SHOWN = {
    "question_mark": "?",
    "slash": "/",
    "escape": "esc",
    "left": "◂",
    "right": "▸",
    "plus": "+",
    "minus": "-",
    "dollar_sign": "$",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do: `do_<name>` of the screen does it, `why_not` may say why it cannot."""

    name: str
    keys: str
    """Textual's key names, comma separated; the first is shown."""
    label: str
    """A word or two, for the footer."""
    about: str
    """A sentence, for the help and the palette."""
    footer: bool = True

    @property
    def key(self) -> str:
        """The key as it is written on a keyboard."""
        first = self.keys.split(",")[0]
        return _SHOWN.get(first, first)

    @property
    def binding(self) -> Binding:
        """For Textual."""
        return Binding(self.keys, f"act('{self.name}')", self.label, show=False)


COMMON = (
    Action("help", "question_mark", "keys", "Show every key and what the glyphs mean."),
    Action("palette", "ctrl+p", "commands", "Find any action by its name."),
    Action("quit", "q", "quit", "Leave the console; migrations go on.", footer=False),
)
"""On every screen."""
