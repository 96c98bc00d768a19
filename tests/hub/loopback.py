"""A file server on loopback that answers as a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.loopback_server import loopback_server

Answer = Callable[["Handler", bytes], None]


@dataclass
class FileServer:
    """Files by path, and the answers to give before the file itself."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    etag: str = '"v1"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.files.requests.append((path, self.headers.get("Range")))
        content = self.files.files.get(path)
        answers = self.files.answers.get(path)
        if answers:
            answers.pop(0)(self, content or b"")
        elif content is None:
            status(404)(self, b"")
        else:
            whole(self, content)

    def do_HEAD(self) -> None:
        self.files.requests.append((self.path, None))
        self.reply(404, b"")

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, code: int, body: bytes, *, announced: int | None = None, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def whole(handler: Handler, content: bytes) -> None:
    """The file, or the rest of it where a range of this version is asked for."""
    asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    if asked and condition == handler.files.etag:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.reply(206, content[start:], ETag=handler.files.etag, Content_Range=span)
    else:
        handler.reply(200, content, ETag=handler.files.etag)


def ignoring_ranges(handler: Handler, content: bytes) -> None:
    handler.reply(200, content, ETag=handler.files.etag)


def status(code: int) -> Answer:
    return lambda handler, _: handler.reply(code, b"<html>an error page</html>", Content_Type="text/html")


def page(handler: Handler, _: bytes) -> None:
    handler.reply(200, b"<html>please log in</html>", Content_Type="text/html; charset=utf-8")


def cut_after(count: int) -> Answer:
    def answer(handler: Handler, content: bytes) -> None:
        handler.reply(200, content[:count], announced=len(content), ETag=handler.files.etag)
        handler.close_connection = True

    return answer


def redirect(to: str) -> Answer:
    return lambda handler, _: handler.reply(302, b"", Location=to)


def silent(release: threading.Event) -> Answer:
    """Accepts the request and says nothing until released."""

    def answer(handler: Handler, _: bytes) -> None:
        release.wait(20)
        handler.close_connection = True

    return answer


def file_server() -> AbstractContextManager[FileServer]:
    return loopback_server(Handler, "files", FileServer)
