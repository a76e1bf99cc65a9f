"""Documents as a broken or hostile sender would change them."""

from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from hypothesis import strategies as st

from tests.hostile import texts

NUMBERS = ("", "0", "-1", "7", "1e9", "٣", "0x10", "99999999999999999999", "NaN", "9" * 5000)


@st.composite
def cut_up(draw: st.DrawFn, document: str) -> str:
    """A document with pieces of it gone, doubled, exchanged or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(document)))
        to = draw(st.integers(at, min(len(document), at + 60)))
        piece = draw(st.sampled_from(("", document[at:to] * 2, "\0", "<", ">")) | texts)
        document = document[:at] + piece + document[to:]
    return document


@st.composite
def xml_like(draw: st.DrawFn, document: str) -> str:
    """A well-formed document with elements gone, doubled or nested, and other values in it."""
    root = ElementTree.fromstring(document)
    for _ in range(draw(st.integers(1, 5))):
        every = list(root.iter())
        one = draw(st.sampled_from(every))
        value = draw(st.sampled_from(NUMBERS) | texts.filter(_in_xml))
        what = draw(st.integers(0, 5))
        if what == 0 and len(one):
            one.remove(draw(st.sampled_from(list(one))))
        elif what == 1 and len(one):
            one.append(draw(st.sampled_from(list(one))))
        elif what == 2 and one.attrib:
            one.set(draw(st.sampled_from(sorted(one.attrib))), value)
        elif what == 3 and one.attrib:
            del one.attrib[draw(st.sampled_from(sorted(one.attrib)))]
        elif what == 4:
            one.text = value
        else:
            one.tag = draw(st.sampled_from(every)).tag
    return ElementTree.tostring(root, "unicode")


def _in_xml(text: str) -> bool:
    try:
        ElementTree.fromstring(ElementTree.tostring(_holding(text), "unicode"))
    except (ElementTree.ParseError, ValueError):
        return False
    return True


def _holding(text: str) -> Element:
    element = Element("a", b=text)
    element.text = text
    return element


scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""What JSON can hold, and a little more."""


@st.composite
def json_like(draw: st.DrawFn, document: Any) -> Any:
    """A value of JSON with parts of it gone or of another type."""
    if isinstance(document, dict):
        kept = {k: draw(json_like(v)) for k, v in document.items() if draw(st.integers(0, 9))}
        return kept | draw(st.just({}) | st.dictionaries(texts, scalars, max_size=1))
    if isinstance(document, list) and document:
        return [draw(json_like(one)) for one in document]
    return document if draw(st.integers(0, 7)) else draw(values)
