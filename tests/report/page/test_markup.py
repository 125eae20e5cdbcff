"""Elements: what is no markup stays text."""

from html import unescape

import pytest

from cod_cli.report.page.markup import el, escape, join

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)",
    "&lt;b&gt; &amp; &#60;",
    "<!-- --> ]]> <![CDATA[",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_reads_back_as_it_was(text: str) -> None:
    shown = escape(text)
    assert unescape(shown) == text
    assert not set("<>\"'") & set(shown)


def test_elements_nest_without_being_escaped_again() -> None:
    assert el("p", "a < b ", el("b", "bold"), None, 3) == "<p>a &lt; b <b>bold</b>3</p>"


def test_attributes_are_escaped_and_named_with_hyphens() -> None:
    assert el("li", class_="x", data_name='"', hidden=None) == '<li class="x" data-name="&quot;"></li>'


def test_a_joined_text_is_escaped_too() -> None:
    assert join("<", el("i")) == "&lt;<i></i>"


@pytest.mark.parametrize(("text", "shown"), [("\x1b[2J", "\\x1b[2J"), ("\u202eabc", "\\x202eabc"), ("\x00", "\\x00")])
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize("text", ["می‌خواهم", "👩‍💻", "שלום", "日本　語", "two\nlines\tand a tab"])
def test_scripts_of_the_world_stay_as_they_are(text: str) -> None:
    assert escape(text) == text
