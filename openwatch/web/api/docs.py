"""The page that shows this API and tries it: three files of the package, nothing from elsewhere."""

from __future__ import annotations

import functools
from importlib import resources

from openwatch.web.operations import Access, Context, Operation


@functools.cache
def _file(name: str) -> bytes:
    return resources.files("openwatch.web").joinpath("docs", name).read_bytes()


def page(ctx: Context) -> bytes:
    """Return the page; it reads `/api/v1/openapi.json`."""
    return _sent(ctx, "index.html")


def script(ctx: Context) -> bytes:
    """Return what moves the page."""
    return _sent(ctx, "page.js")


def style(ctx: Context) -> bytes:
    """Return how the page looks."""
    return _sent(ctx, "page.css")


def _sent(ctx: Context, name: str) -> bytes:
    ctx.headers["Cache-Control"] = "no-cache"
    return _file(name)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="getDocs",
        method="GET",
        path="/docs",
        permission=Access.PUBLIC,
        handler=page,
        summary="Show this API to people, and let them try it",
        returns=str,
        produces="text/html; charset=utf-8",
        tag="system",
        needs_database=False,
    ),
    Operation(
        id="getDocsScript",
        method="GET",
        path="/docs/page.js",
        permission=Access.PUBLIC,
        handler=script,
        summary="Load the script of that page",
        returns=str,
        produces="text/javascript; charset=utf-8",
        tag="system",
        needs_database=False,
    ),
    Operation(
        id="getDocsStyle",
        method="GET",
        path="/docs/page.css",
        permission=Access.PUBLIC,
        handler=style,
        summary="Load the style of that page",
        returns=str,
        produces="text/css; charset=utf-8",
        tag="system",
        needs_database=False,
    ),
)
