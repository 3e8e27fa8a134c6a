"""report.html in a browser, Debian's headless chromium: text, figures, no errors, no network, no sideways scrolling on a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-features=NetworkTimeServiceQuerying",
         "--enable-logging=stderr", "--virtual-time-budget=5000")  # fmt: skip
AROUND = """<!DOCTYPE html><title>probe</title><iframe width="{width}" height="900" style="border:0" srcdoc="{page}"></iframe><script>
addEventListener("load", () => {{
  const view = frames[0], page = view.document, images = [...page.images], root = page.documentElement;
  const found = {{
    width: view.innerWidth, scrolls: root.scrollWidth > root.clientWidth, images: images.length,
    broken: images.filter(image => !image.complete || image.naturalWidth < 50).length,
    loaded: view.performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
    paper: view.getComputedStyle(page.body).backgroundColor,
  }};
  document.body.dataset.found = JSON.stringify(found);
}});
</script>"""  # a window cannot be as narrow as a phone

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


@pytest.fixture
def dumped(tmp_path):
    """Open a page, and return its document; the console must stay empty."""

    def dump(path, *flags):
        places = f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={tmp_path / 'net.json'}"
        command = [CHROMIUM, *FLAGS, *places, *flags, "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert ":CONSOLE" not in done.stderr, done.stderr
        return done.stdout

    return dump


@pytest.fixture
def probed(reported, dumped, tmp_path):
    """What a reader with a window so wide has of the page."""

    def probe(width, *flags):
        page = html.escape((reported / "report.html").read_text(encoding="utf-8"))
        (tmp_path / "around.html").write_text(AROUND.format(width=width, page=page), encoding="utf-8")
        found = re.search('data-found="([^"]*)"', dumped(tmp_path / "around.html", *flags))
        return json.loads(html.unescape(found[1]))

    return probe


def test_it_opens_from_disk_without_network(reported, dumped, tmp_path):
    document = dumped(reported / "report.html")
    for text in ("Max SIC", "The command", "Background sculpting", "Training of the density", "two-sample AUC"):
        assert text in document
    assert document.count("<img") >= 10
    asked = set(re.findall(r'"url":\s*"https?://([^/"]*)', (tmp_path / "net.json").read_text()))
    assert not {host for host in asked if not host.endswith(("google.com", "googleapis.com"))}, (
        "but for what the browser asks of its maker"
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_all_figures_are_there_and_nothing_scrolls_sideways(probed, width):
    found = probed(width)
    assert found["width"] == width
    assert found["images"] >= 10
    assert found["broken"] == 0
    assert not found["loaded"]
    assert not found["scrolls"]


def test_it_is_dark_where_the_reader_wants_it_dark(probed):
    light, dark = probed(1280), probed(1280, "--blink-settings=preferredColorScheme=0")
    brightness = [sum(map(int, re.findall("[0-9]+", each["paper"])[:3])) for each in (light, dark)]
    assert brightness[0] > 700
    assert brightness[1] < 150
