"""The page in a real browser: its own policy lets its script run, the search works, nothing is complained about."""

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from cod_cli.report.comparison import compare
from cod_cli.report.page.document import page
from cod_cli.report.results import read_evidence
from tests.report.evidence_of import scored_run, trained, with_pairs
from tests.report.page.page_of import Node, read_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium here")]


@pytest.fixture
def html(tmp_path: Path) -> str:
    for seed, accuracy in enumerate((0.6, 0.7, 0.65)):
        run = scored_run(tmp_path / f"s{seed}", {"kd-shots": 0.5, "kd-cod": accuracy}, seed=seed)
        trained(run, "kd-cod", seed=seed)
        with_pairs(run, [("a dull film", "a fine film"), ("<script>bad</script>", "<script>good</script>")])
    evidence = read_evidence(tmp_path)
    return page(evidence, compare(evidence))


def shown(html: str, folder: Path, *, then: str = "", hash: str = "", width: int = 1280) -> tuple[Node, list[str]]:
    """The page after its script and ``then`` have run, and what the console said."""
    if then:
        allowed = base64.b64encode(hashlib.sha256(then.encode()).digest()).decode()
        html = html.replace("; base-uri", f" 'sha256-{allowed}'; base-uri").replace(
            "</body>", f"<script>{then}</script></body>"
        )
    (folder / "page.html").write_text(html, encoding="utf-8")
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [
        f"--window-size={width},900",
        "--enable-logging=stderr",
        "--v=0",
        "--dump-dom",
        f"{(folder / 'page.html').as_uri()}{hash}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return read_page(done.stdout), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def left(root: Node) -> list[str]:
    return [item.all("ins")[0].text for item in root.all("li") if "hidden" not in item.attributes]


def test_the_console_is_silent_and_all_pairs_are_shown(html: str, tmp_path: Path) -> None:
    root, said = shown(html, tmp_path)
    assert said == []
    assert left(root) == ["fine", "good"]


def test_the_search_leaves_the_pairs_that_hold_every_word(html: str, tmp_path: Path) -> None:
    search = (
        'const box = document.querySelector("input"); box.value = " FILM dull"; '
        'box.dispatchEvent(new Event("input", { bubbles: true }));'
    )
    root, said = shown(html, tmp_path, then=search)
    assert said == []
    assert left(root) == ["fine"]
    assert root.all("output")[0].text == "1 of 2 pairs"


def test_a_link_to_an_arms_commands_opens_them(html: str, tmp_path: Path) -> None:
    closed, _ = shown(html, tmp_path)
    opened, _ = shown(html, tmp_path, hash="#made-1")
    assert ["open" in node.attributes for node in closed.all("details", id="made-1")] == [False]
    assert ["open" in node.attributes for node in opened.all("details", id="made-1")] == [True]


def test_a_script_that_is_not_the_pages_own_does_not_run(html: str, tmp_path: Path) -> None:
    injected = html.replace("</body>", "<script>document.title = 'taken over'</script></body>")
    root, said = shown(injected, tmp_path)
    assert root.all("head")[0].all("title")[0].text != "taken over"
    assert any("Content Security Policy" in line for line in said)


def test_on_a_narrow_screen_the_tables_scroll_and_not_the_page(html: str, tmp_path: Path) -> None:
    measure = 'document.title = [document.documentElement.scrollWidth, innerWidth].join(" ")'
    root, _ = shown(html, tmp_path, then=measure, width=500)
    page_width, window = map(int, root.all("head")[0].all("title")[0].text.split())
    assert page_width <= window <= 500
