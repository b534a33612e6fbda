"""The page of a report as a tree: parsed strictly, its elements by name, their text."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import html5lib

XHTML = "{http://www.w3.org/1999/xhtml}"


def parsed(page: str) -> Element:
    """The page's tree, without Bokeh's text. Raises on what is not HTML as the standard has it."""
    before, start, rest = page.partition('id="library">')
    return html5lib.HTMLParser(strict=True).parse(before + start + rest[rest.index("</script>") :])


def elements(root: Element, name: str) -> list[Element]:
    return list(root.iter(XHTML + name))


def text(element: Element) -> str:
    return " ".join(" ".join(element.itertext()).split())
