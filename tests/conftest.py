"""Fixtures of the browser tests. There is one Playwright a process: a second one would refuse to start."""

from __future__ import annotations

import os

import pytest

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_ARGS = (
    "--no-sandbox",  # root
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_ARGS))
        yield chromium
        chromium.close()


@pytest.fixture
def new_page(browser):
    """``new_page(**context options)`` → a page whose errors fail the test unless it allows them."""
    contexts = []

    def make(**options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.log = []
        page.on("console", lambda m: m.type == "error" and page.log.append(m.text))
        page.on("pageerror", lambda e: page.log.append(f"pageerror: {e.stack or e}"))
        contexts.append((context, page))
        return page

    yield make
    for context, _ in contexts:
        context.close()


@pytest.fixture
def bridge(monkeypatch, new_page):
    """A page for widgets without Jupyter. Ask for it before making the widget: it replaces the comm."""
    import comm
    from bridge import Bridge, BridgeComm

    monkeypatch.setattr(comm, "create_comm", BridgeComm)
    page = new_page()
    made = Bridge(page)
    yield made
    assert page.log == []


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    from lab import Server

    made = Server(tmp_path_factory.mktemp("jupyter"))
    yield made
    made.stop()
