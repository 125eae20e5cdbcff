"""A page read back with the standard library's parser, as a tree; it refuses tags that do not match."""

from collections.abc import Iterator
from html.parser import HTMLParser

_VOID = {"meta", "input", "br"}


class Node:
    """An element: its attributes, and its children in order, texts among them."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Node | str] = []

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def __iter__(self) -> Iterator["Node"]:
        """Every element below, in order."""
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child

    def all(self, tag: str, **attributes: str) -> list["Node"]:
        """The elements of a tag; an attribute must hold the value among its words."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            node
            for node in self
            if node.tag == tag
            and all(value in node.attributes.get(name, "").split(" ") for name, value in wanted.items())
        ]

    def section(self, title: str) -> "Node":
        """The part of the page under a heading."""
        return next(node for node in self.all("section") if node.all("h2")[0].text == title)

    def titles(self) -> list[str]:
        return [node.text for node in self.all("h2")]

    def table(self) -> dict[str, dict[str, "Node"]]:
        """The cells of the first table by the line's name, preceded by that of its group, then by heading."""
        first = self.all("table")[0]
        headings = [cell.text for cell in first.all("thead")[0].all("th")]
        found, group = {}, ""
        for body in first.all("tbody"):
            for line in body.all("tr"):
                cells = [node for node in line if node.tag in ("th", "td")]
                if line.attributes.get("class") == "group":
                    group = f"{cells[0].text}: "
                else:
                    found[group + cells[0].text] = dict(zip(headings, cells, strict=True))
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in _VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(html: str) -> Node:
    """The tree of a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def numbers(node: Node) -> list[float]:
    """The exact values that stand in an element, in order."""
    return [float(each.attributes["value"]) for each in ([node] if node.tag == "data" else node.all("data"))]
