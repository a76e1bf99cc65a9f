"""HTML that cannot be broken out of: text becomes markup in one place, and escaped."""

import html

from tui.render.ink import clean


class Html(str):
    """Markup. Any other text is escaped before it is put into some."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Text as markup that shows it; without control and direction characters."""
    return text if isinstance(text, Html) else Html(html.escape(clean(text), quote=True))


def joined(*parts: str) -> Html:
    """One after the other."""
    return Html("".join(escaped(part) for part in parts))


def tag(name: str, *children: str, **attributes: str) -> Html:
    """An element; `class_` is `class`, other underscores are hyphens."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{said}>{joined(*children)}</{name}>")
