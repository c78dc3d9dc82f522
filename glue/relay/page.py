"""The built page, read once into a table from exact path to response: no request opens a file."""

from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",  # the socket too, in every browser that the page is built for
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
MIME_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
NOT_BUILT = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Tidemark</title>
<h1>The page has not been built</h1>
<p>Run <code>make page</code> in the checkout and start the relay again.
The relay itself works: its socket is at <code>/ws</code>.</p>
</html>
"""


class File(NamedTuple):
    """A response that is ready to be sent."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes


def load(directory: Path) -> dict[str, File]:
    """The files by path; without an index, only a message that says how to get one."""
    files = {
        f"/{path.relative_to(directory).as_posix()}": _file(path, directory)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    if "/index.html" not in files:
        headers = {"Content-Type": MIME_TYPES[".html"], "Cache-Control": "no-store"}
        return {"/": File(HTTPStatus.SERVICE_UNAVAILABLE, headers, NOT_BUILT)}
    return files | {"/": files["/index.html"]}


def _file(path: Path, directory: Path) -> File:
    """Files in assets/ carry a hash of their content in their name; the others may change."""
    is_hashed = path.parent == directory / "assets"
    caching = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
    mime_type = MIME_TYPES.get(path.suffix, "application/octet-stream")
    headers = {"Content-Type": mime_type, "Cache-Control": caching}
    return File(HTTPStatus.OK, headers, path.read_bytes())
