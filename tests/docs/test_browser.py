"""The site in a real browser: no page scrolls sideways on a telephone, and none is cut off.

Needs chromium and Sphinx (`make docs` has made docs/_build/html); a part of `make soak`.
"""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

SITE: Final = Path(__file__).parents[2] / "docs" / "_build" / "html"
BROWSER: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH: Final = 390  # CSS pixels
SECONDS: Final = 120

# Opens each page in a frame of that width, one after the other, and writes down what lies beyond it: the page itself,
# or a part of the text that nobody can scroll to, since it is in no box that scrolls.
MEASURE: Final = """<!doctype html><body><pre id="found"></pre><script>
const pages = PAGES, found = {}, frame = document.createElement("iframe");
frame.width = WIDTH; frame.height = 800; frame.style.border = "0"; document.body.append(frame);
function scrolls(one, view) {
  for (let box = one.parentElement; box && box.tagName !== "ARTICLE"; box = box.parentElement)
    if (["auto", "scroll"].includes(view.getComputedStyle(box).overflowX)) return true;
  return false;
}
function beyond(root, view) {
  const out = [...root.querySelectorAll("article, article *")];
  return out.filter(one => one.getBoundingClientRect().right > WIDTH + 1 && !scrolls(one, view));
}
function next() {
  const page = pages.shift();
  if (!page) { document.getElementById("found").textContent = JSON.stringify(found) + " end"; return; }
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    found[page] = beyond(root, frame.contentWindow).map(one => one.outerHTML.slice(0, 100));
    if (root.scrollWidth > WIDTH) found[page].unshift("the page is " + root.scrollWidth + " wide");
    next();
  };
  frame.src = page;
}
next();
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The site, and the page that measures it, on a port of this machine."""
    folder = Path(shutil.copytree(SITE, tmp_path / "site"))
    pages = sorted(str(page.relative_to(folder)) for page in folder.rglob("*.html"))
    (folder / "measure.html").write_text(
        MEASURE.replace("PAGES", json.dumps(pages)).replace("WIDTH", str(WIDTH)), "utf-8"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.soak
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built: make docs")
def test_no_page_scrolls_sideways_on_a_telephone(address: str, tmp_path: Path) -> None:
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    options += " --disable-component-update --disable-sync --virtual-time-budget=60000 --dump-dom"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    ran = subprocess.run(
        [str(BROWSER), *options.split(), profile, f"{address}/measure.html"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    said = re.search(r'<pre id="found">(.*) end</pre>', ran.stdout)
    assert said, ran.stdout[-2000:]
    found = json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert len(found) > 20
    assert {page: parts for page, parts in found.items() if parts} == {}
