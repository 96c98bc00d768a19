"""A small Hugging Face hub on loopback: the routes that huggingface_hub uses to create, commit, list and read repositories."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import yaml

from tests.loopback_server import loopback_server

TOKEN = "hf_loopback"
LFS = (".onnx", ".pt", ".pt2", ".safetensors")
Answer = Callable[["HubHandler", bytes], None]


@dataclass
class Repository:
    """Commits by id, oldest first, each with all of its files; and what a branch or tag means."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        sha = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = files
        self.names[branch] = sha
        return sha

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.names["main"]]


@dataclass
class LoopbackHub:
    """Repositories by name, answers to give in place of a file, and what was asked for.

    `owner` is whose token `TOKEN` is; nobody may write elsewhere.
    """

    url: str
    owner: str = "me"
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, code: int, body: Any = b"", announced: int | None = None, **headers: str) -> None:
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()

    def refuse(self, code: int, kind: str, message: str) -> None:
        self.reply(code, {"error": message}, X_Error_Code=kind, X_Error_Message=message)

    def do_GET(self) -> None:
        self._dispatch(b"")

    def do_HEAD(self) -> None:
        self._dispatch(b"")

    def do_POST(self) -> None:
        self._dispatch(self._body())

    def do_PUT(self) -> None:
        self._dispatch(self._body())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while length := int(self.rfile.readline(), 16):
            found += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _dispatch(self, body: bytes) -> None:
        path = urllib.parse.unquote(self.path.partition("?")[0])
        self.hub.requests.append(f"{self.command} {path}")
        for pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and pattern in self.hub.answers:
                self.hub.answers[pattern](self, body)
                return
            if found:
                answer(self, body, **found.groupdict())
                return
        self.reply(404, {"error": f"no route for {path}"})

    def _may_write(self, owner: str) -> bool:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(401, "", "Invalid username or password.")
            return False
        if owner != self.hub.owner:
            self.refuse(403, "", "You don't have the rights to create a model under this namespace")
            return False
        return True

    def _repository(self, repo: str) -> Repository | None:
        """The repository; an answer that there is none for whom it is not open to."""
        found = self.hub.repositories.get(repo)
        logged_in = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not logged_in):
            self.refuse(404 if logged_in else 401, "RepoNotFound", "Repository not found")
            return None
        return found

    def _files(self, repo: str, rev: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self._repository(repo)
        if repository is None:
            return None
        sha = repository.names.get(rev, rev)
        if sha not in repository.commits:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {rev}")
            return None
        return sha, repository.commits[sha]

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        if not self._may_write(asked["organization"]):
            return
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            self.refuse(409, "", "You already created this model repo")
            return
        made = self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
        made.commit({".gitattributes": b"*.onnx filter=lfs\n"})
        self.reply(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": "1"})

    def info(self, body: bytes, repo: str, rev: str | None = None) -> None:
        if (found := self._files(repo, rev or "main")) is not None:
            siblings = [{"rfilename": name} for name in found[1]]
            self.reply(200, {"_id": "1", "id": repo, "sha": found[0], "private": False, "tags": [], "siblings": siblings})

    def tree(self, body: bytes, repo: str, rev: str) -> None:
        if (found := self._files(repo, rev)) is not None:
            self.reply(200, [_entry(name, content) for name, content in found[1].items()])

    def paths(self, body: bytes, repo: str, rev: str) -> None:
        if (found := self._files(repo, rev)) is not None:
            asked = json.loads(body)["paths"] if body.startswith(b"{") else urllib.parse.parse_qs(body.decode())["paths"]
            self.reply(200, [_entry(name, found[1][name]) for name in asked if name in found[1]])

    def validate(self, body: bytes) -> None:
        front = json.loads(body)["content"].split("---\n")[1]
        assert isinstance(yaml.safe_load(front), dict)
        self.reply(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, rev: str) -> None:
        if not self._may_write(repo.partition("/")[0]) or self._files(repo, rev) is None:
            return
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self.reply(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        objects = json.loads(body)["objects"]
        actions = [
            {**entry, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}}}
            if entry["oid"] not in self.hub.large
            else entry
            for entry in objects
        ]
        self.reply(200, {"transfer": "basic", "objects": actions})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.reply(400, {"error": "the content has another hash"})
            return
        self.hub.large[oid] = body
        self.reply(200)

    def commit(self, body: bytes, repo: str, rev: str) -> None:
        if not self._may_write(repo.partition("/")[0]) or (found := self._files(repo, rev)) is None:
            return
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(found[1])
        for line in lines:
            kind, value = line["key"], line["value"]
            if kind == "header" and value.get("parentCommit") not in (None, found[0]):
                self.refuse(412, "", "A commit has happened since. Please refresh and try again.")
                return
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        sha = self.hub.repositories[repo].commit(files, rev)
        self.reply(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def resolve(self, body: bytes, repo: str, rev: str, path: str) -> None:
        if (found := self._files(repo, rev)) is None:
            return
        sha, files = found
        if path not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        content, tag = files[path], f'"{hashlib.sha256(files[path]).hexdigest()}"'
        if path in self.hub.answers:
            self.hub.answers[path](self, content)
        elif asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1 if last else None]
            span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            self.reply(206, part, ETag=tag, X_Repo_Commit=sha, Content_Range=span)
        else:
            self.reply(200, content, ETag=tag, X_Repo_Commit=sha)


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest()}


def cut_after(count: int) -> Answer:
    """Sends the first `count` bytes of a file and ends the connection."""

    def answer(handler: HubHandler, content: bytes) -> None:
        handler.reply(200, content[:count], announced=len(content))
        handler.close_connection = True

    return answer


def stuck_after(count: int, reached: threading.Event, release: threading.Event) -> Answer:
    """Sends the first `count` bytes of a file, and nothing more until it is released."""

    def answer(handler: HubHandler, content: bytes) -> None:
        handler.reply(200, content[:count], announced=len(content))
        reached.set()
        release.wait(60)
        handler.close_connection = True

    return answer


_REPO = r"(?P<repo>[^/]+/[^/]+)"
COMMIT = rf"/api/models/{_REPO}/commit/(?P<rev>[^/]+)"
BATCH = rf"/{_REPO}\.git/info/lfs/objects/batch"
ROUTES: list[tuple[str, Callable[..., None]]] = [
    ("/api/repos/create", HubHandler.create),
    ("/api/validate-yaml", HubHandler.validate),
    (rf"/api/models/{_REPO}", HubHandler.info),
    (rf"/api/models/{_REPO}/revision/(?P<rev>[^/]+)", HubHandler.info),
    (rf"/api/models/{_REPO}/tree/(?P<rev>[^/]+)/?", HubHandler.tree),
    (rf"/api/models/{_REPO}/paths-info/(?P<rev>[^/]+)", HubHandler.paths),
    (rf"/api/models/{_REPO}/preupload/(?P<rev>[^/]+)", HubHandler.preupload),
    (COMMIT, HubHandler.commit),
    (BATCH, HubHandler.batch),
    (r"/lfs/(?P<oid>[0-9a-f]+)", HubHandler.upload),
    (rf"/{_REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", HubHandler.resolve),
]


def loopback_hub() -> AbstractContextManager[LoopbackHub]:
    return loopback_server(HubHandler, "hub", LoopbackHub)
