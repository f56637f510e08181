"""A browser and a server for the built site. Without a Chromium these tests are skipped, loudly."""

import os
import re
import shutil
import sys
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent.parent
SITE = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
NO_BROWSER = (
    "The browser tests did not run: there is no Chromium here. On Debian or Ubuntu "
    "'apt-get install chromium' brings it; elsewhere, CHROMIUM=/path/to/it names one."
)
BASE = re.search(r"^  baseurl: (\S+)$", (ROOT / "_config.yml").read_text(), re.MULTILINE).group(1)
# The book is served behind a path, as on GitHub Pages.
PREFIX = urlsplit(BASE).path + "/"
# Pages bring their own policy; that of a worker comes with its script.
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"


def pytest_terminal_summary(terminalreporter):
    if CHROMIUM is None:
        terminalreporter.write_line(NO_BROWSER)


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        if self.server.down:
            self.connection.close()
        elif not path.startswith(PREFIX) or Path(path).name in self.server.missing:
            self.send_error(404)
        elif Path(path).name in self.server.cut:
            self.send(200, b"half of it", length=1000)
        else:
            self.path = path.removeprefix(PREFIX.rstrip("/"))
            super().do_GET()

    def send_error(self, code, *words):
        """Send the book's own page where there is none, as GitHub Pages does."""
        self.send(code, (SITE / "404.html").read_bytes())

    def send(self, code, content, length=None):
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self):
        # Every visit asks anew, so that a test decides what comes.
        self.send_header("Cache-Control", "no-store")
        if self.path.endswith("js"):
            self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """Serves the site; `down`, and `missing` and `cut` (names of files), can be set."""

    down = False
    missing = ()
    cut = ()

    def handle_error(self, request, client_address):
        """A browser that goes away in the middle of a file is no error."""


@contextmanager
def serve():
    """Serve the site on 127.0.0.1."""
    server = Server(("127.0.0.1", 0), partial(Handler, directory=SITE))
    server.url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def launch():
    """Start the installed Chromium; exits with a sentence where there is none."""
    if CHROMIUM is None:
        sys.exit(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses to run as root with its sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opening(browser, server):
    """Open a page of the site; returns the page, with its `complaints`.

    A complaint is an error or a warning on the console, such as a request that the policy refuses,
    or an error in a script. `requested` holds the addresses of all requests, and `refused` those
    that brought nothing.
    """
    contexts = []

    def open_page(path, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(120_000)
        page = context.new_page()

        def hear(message):
            # The tests read canvases often, and the browser has advice about that.
            if message.type in ("error", "warning") and "willReadFrequently" not in message.text:
                page.complaints.append(message.text)

        page.complaints, page.requested, page.refused = [], [], []
        context.route(lambda url: not url.startswith(server.url), lambda route: route.abort())
        context.on("request", lambda request: page.requested.append(request.url))
        context.on("requestfailed", lambda request: page.refused.append(request.url))
        context.on("response", lambda r: r.status >= 400 and page.refused.append(r.url))
        page.on("console", hear)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(server.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def server():
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip(NO_BROWSER)
    with launch() as browser:
        yield browser


@pytest.fixture
def open_page(browser, server):
    with opening(browser, server) as open_page:
        yield open_page


def load_pictures(page):
    """Bring the pictures further down, which otherwise come when they are looked at."""
    page.evaluate(
        """() => Promise.all([...document.images].map((image) => {
            image.loading = "eager";
            return image.decode();
        }))"""
    )
