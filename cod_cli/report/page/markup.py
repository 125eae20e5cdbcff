"""HTML and SVG as nested elements: whatever is not `Markup` already is text and stays text."""

import html

# Not printable for Python, but part of a text: spaces, and the joiners of Persian, Indic scripts and emoji.
_KEPT = "\n\t\xa0\u3000\u200c\u200d"
Child = str | int | float | None


class Markup(str):
    """Text that is HTML already, made by `el`."""


def el(name: str, /, *children: Child, **attributes: Child) -> Markup:
    """One element with its children; a child or attribute that is None is left out.

    Underscores in attribute names stand for hyphens, one at the end for none: ``class_="x" data_arm="y"``.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    inside = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    return Markup(f"<{name}{inside}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(child) for child in children if child is not None)
    )


def escape(value: Child) -> str:
    """A value as text, in an element or in quotes; control characters and lone surrogates are made visible."""
    return html.escape("".join(c if c in _KEPT or c.isprintable() else f"\\x{ord(c):02x}" for c in str(value)))


def quantity(value: float, shown: str) -> Markup:
    """A number as it is shown, with its exact value beside it for whoever reads the page by program."""
    return el("data", shown.replace("-", "−"), value=repr(value))


def capital(text: str) -> str:
    """A sentence's first letter."""
    return text[:1].upper() + text[1:]
