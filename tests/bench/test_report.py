"""The page stands alone, and is fit for a phone, a dark room, paper, and a browser without scripts."""

import importlib.util
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq.bench import report
from asyncpq.bench.report import page
from tests.bench.figures import EVERYTHING, result, row

LONG: Final = "/a/path/without/any/space/" + "x" * 300
VOID: Final = {"meta", "br", "img", "input", "link", "hr"}
BROWSER: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Parsed(HTMLParser):
    """The elements of a page, each of which is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def whole() -> str:
    return page(EVERYTHING)


@pytest.fixture
def _no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(report, "find_spec", lambda name: None if name == "matplotlib" else real(name))


def test_it_refers_to_nothing_outside(whole: str) -> None:
    for tag, attributes in Parsed(whole).found:
        for name in ("src", "href", "xlink:href", "action", "poster", "data"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
        assert tag not in ("script", "iframe", "object", "embed", "link"), tag
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert not re.search(r"url\((?!#)|@import|https?:", whole)


def test_no_name_is_there_twice(whole: str) -> None:
    names = [attributes["id"] for _, attributes in Parsed(whole).found if "id" in attributes]
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', whole)) <= set(names), "a drawing lost what it refers to"


def test_the_plots_take_their_colours_from_the_page(whole: str) -> None:
    """Else they would be black on black."""
    drawings = "".join(re.findall(r"<svg.*?</svg>", whole, re.DOTALL))
    colours = set(re.findall(r"#[0-9a-f]{6}\b", drawings))
    assert colours <= {"#ffffff"}, colours
    assert drawings.count("<svg") == whole.count("<figure>") == 6
    assert "var(--ink)" in drawings


def test_each_plot_of_the_request_is_there(whole: str) -> None:
    for title in (
        "Latency of a put, file queue",
        "Throughput over producers, file queue",
        "Cost over item size, file queue",
        "On a slower disk, file queue",
        "asyncpq beside its peers",
    ):
        assert f"<h2>{title}</h2>" in whole


def test_what_came_from_outside_is_not_obeyed(whole: str) -> None:
    assert "<with>" not in whole
    assert "a library &lt;with&gt; a name" in whole


@pytest.mark.usefixtures("_no_matplotlib")
def test_without_matplotlib_it_says_what_to_install_and_has_the_tables() -> None:
    text = page(EVERYTHING)
    assert "pip install &#x27;asyncpq-engine[bench]&#x27;" in text
    assert "<svg" not in text
    assert text.count('<table class="figures">') == 4


def test_it_says_how_it_was_made(whole: str) -> None:
    said = " ".join(Parsed(whole).text)
    for word in ("Take it.", "A note.", "ext4 on /dev/sda1", "4 x A processor", "CPython 3.11", "3.40", "12.5 s"):
        assert word in said


def test_a_name_that_is_no_text_is_shown_as_escapes() -> None:
    assert "\\udcff" in page(result(row("never", 1.0), warnings=("/tmp/\udcff is in memory",)))


# What the page, in a frame as wide as a phone, tells the one around it.
TELL: Final = """<script>addEventListener("load", () => parent.postMessage({
  needed: document.documentElement.scrollWidth,
  width: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.querySelector("svg text")).fill,
}, "*"))</script>"""
FRAME: Final = """<!DOCTYPE html><script>
addEventListener("message", (event) => document.documentElement.setAttribute("seen", JSON.stringify(event.data)))
</script><iframe src="page.html" style="width: 390px; height: 800px; border: 0"></iframe>"""


def seen(text: str, folder: Path, *options: str) -> dict[str, Any]:
    """Open the page in a browser, 390 pixels wide; return what a script in it sees."""
    assert BROWSER is not None
    (folder / "page.html").write_text(text.replace("</head>", f"{TELL}</head>"), "utf-8")
    (folder / "frame.html").write_text(FRAME, "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [*options, "--virtual-time-budget=20000", "--dump-dom", (folder / "frame.html").as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    (found,) = [attributes["seen"] for tag, attributes in Parsed(ran.stdout).found if "seen" in attributes]
    made: dict[str, Any] = json.loads(found or "")
    return made


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.parametrize(
    ("scheme", "paper", "ink"), [("1", "255, 255, 255", "28, 33, 38"), ("0", "20, 24, 27", "228, 232, 235")]
)
def test_in_a_browser_it_fits_a_phone_and_is_legible_by_day_and_by_night(
    scheme: str, paper: str, ink: str, whole: str, tmp_path: Path
) -> None:
    found = seen(whole.replace("/data/jobs", LONG), tmp_path, f"--blink-settings=preferredColorScheme={scheme}")
    assert (found["paper"], found["ink"]) == (f"rgb({paper})", f"rgb({ink})")
    assert found["width"] == 390
    assert found["needed"] <= 390, found
