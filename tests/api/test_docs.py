"""The page that shows the API: all of it from here, and nothing of what it shows becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from openwatch.web import openapi
from openwatch.web.api import ALL

FILES = {
    "/docs": "text/html; charset=utf-8",
    "/docs/page.js": "text/javascript; charset=utf-8",
    "/docs/page.css": "text/css; charset=utf-8",
}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", FILES)
def test_everybody_gets_the_page_under_the_strict_policy(anonymous, path: str) -> None:
    response = anonymous("GET", path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == FILES[path]
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert anonymous("POST", path).status_code == 405


def test_the_page_loads_only_what_is_here_and_has_no_script_within_itself(anonymous) -> None:
    tags = Tags()
    tags.feed(anonymous("GET", "/docs").text)
    for tag, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            assert attributes.get(name, "/docs/page.css") in (*FILES, "data:,")
        assert tag != "script" or attributes.get("src") == "/docs/page.js"


def test_the_files_name_no_other_place(anonymous) -> None:
    for path in FILES:
        assert not re.search(r"https?:|//[a-z]|@import|url\(", anonymous("GET", path).text)


def test_the_script_makes_no_markup_and_runs_no_text(anonymous) -> None:
    script = anonymous("GET", "/docs/page.js").text
    sinks = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment"
        r"|srcdoc|DOMParser|\beval\b|\bFunction\(|import\(|localStorage|sessionStorage"
    )
    assert re.findall(sinks, script) == []
    assert re.findall(r"setTimeout|setInterval|location\.(href|assign|replace)", script) == []


def test_the_page_asks_for_paths_that_there_are(anonymous) -> None:
    script = anonymous("GET", "/docs/page.js").text
    asked = set(re.findall(r'fetch\("([^"]+)"', script))
    assert asked == {"/api/v1/openapi.json", "/api/v1/auth/me/permissions"}
    assert asked <= {row.path for row in (*ALL, *openapi.operations(ALL))}
