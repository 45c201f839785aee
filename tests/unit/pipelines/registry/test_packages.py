"""Fetching pinned files: from a real index, and from one that misbehaves on 127.0.0.1."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.registry import package_index, packages
from pipelines.registry.packages import Package, cache_root, fetch, member


def wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def sdist(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


def pinned(content: bytes, filename: str = "") -> Package:
    return Package("Real.Data", "1.0", hashlib.sha256(content).hexdigest(), filename)


class Index:
    """A package index whose faults a test sets."""

    def __init__(self) -> None:
        self.content = b""
        self.page = "json"
        self.listed_sha: str | None = None  # None: the index gives the true one
        self.hide_sha = False
        self.cut_after: list[int] = []  # bytes after which the next downloads break off
        self.ranges = True
        self.password = ""
        self.asked: list[tuple[str, str | None]] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}/simple"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, request.headers.get("Range")))
        wanted = "Basic " + base64.b64encode(f"me:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != wanted:
            return self.send(request, 401, b"", "text/plain")
        if request.path == "/simple/real-data/":
            return self.send_page(request)
        if request.path == "/files/real_data-1.0-py3-none-any.whl":
            return self.send_file(request)
        return self.send(request, 404, b"", "text/plain")

    def send(self, request: BaseHTTPRequestHandler, code: int, body: bytes, kind: str) -> None:
        request.send_response(code)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def send_page(self, request: BaseHTTPRequestHandler) -> None:
        name = "real_data-1.0-py3-none-any.whl"
        sha = self.listed_sha or hashlib.sha256(self.content).hexdigest()
        if self.page == "json":
            hashes = {} if self.hide_sha else {"sha256": sha}
            file = {"filename": name, "url": f"../../files/{name}", "hashes": hashes}
            other = {"filename": "real_data-0.9.zip", "url": "x", "hashes": {}}
            body = json.dumps({"meta": {"api-version": "1.0"}, "files": [other, file]})
            self.send(request, 200, body.encode(), "application/vnd.pypi.simple.v1+json")
        else:
            mark = "" if self.hide_sha else f"#sha256={sha}"
            body = f"<a href='other.zip'>o</a><a href='http://{self.host}/files/{name}{mark}'>x</a>"
            self.send(request, 200, body.encode(), "text/html")

    def send_file(self, request: BaseHTTPRequestHandler) -> None:
        start, code = 0, 200
        if self.ranges and (asked := request.headers.get("Range")):
            start, code = int(asked.removeprefix("bytes=").removesuffix("-")), 206
        size = len(self.content)
        if start >= size:
            code, start = 416, size
        request.send_response(code)
        if code == 206:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if code == 416:
            request.send_header("Content-Range", f"bytes */{size}")
        request.send_header("Content-Length", str(size - start))
        request.end_headers()
        body = self.content[start:]
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
        request.wfile.write(body)
        request.wfile.flush()
        request.close_connection = True

    def downloads(self) -> list[str | None]:
        return [asked for path, asked in self.asked if path.startswith("/files/")]


@pytest.fixture
def index(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    served = Index()
    served.content = wheel({"data/a.txt": b"a" * 300_000, "data/b/c.txt": b"c", "other": os.urandom(900_000)})  # fmt: skip  # noqa: E501
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", served.url)
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda _: None)
    yield served
    served.server.shutdown()
    served.server.server_close()


def parts() -> list[Path]:
    return list(cache_root().rglob("*.part"))


@pytest.mark.parametrize("page", ["json", "html"])
@pytest.mark.parametrize("hide_sha", [False, True])
def test_a_file_is_fetched_once(index, page, hide_sha):
    index.page, index.hide_sha = page, hide_sha
    package = pinned(index.content)
    assert fetch(package).read_bytes() == index.content
    asked = len(index.asked)
    assert fetch(package).read_bytes() == index.content
    assert len(index.asked) == asked  # nothing is asked of the network again
    assert not parts()


def test_a_broken_download_goes_on_where_it_stopped(index):
    index.cut_after = [100_000, 200_000]
    assert fetch(pinned(index.content)).read_bytes() == index.content
    assert index.downloads() == [None, "bytes=100000-", "bytes=300000-"]


def test_a_later_run_goes_on_with_the_piece(index):
    index.cut_after = [1000, 0, 0, 0]
    package = pinned(index.content)
    with pytest.raises(UserError, match="connection broke; run the command again"):
        fetch(package)
    assert [part.stat().st_size for part in parts()] == [1000]
    index.asked.clear()
    assert fetch(package).read_bytes() == index.content
    assert index.downloads() == ["bytes=1000-"]


def test_a_server_without_ranges_starts_again(index):
    index.ranges = False
    index.cut_after = [1000]
    assert fetch(pinned(index.content)).read_bytes() == index.content


@pytest.mark.parametrize("piece", [b"not its beginning", b"x" * 5_000_000, None])
def test_a_wrong_or_whole_piece_is_fixed(index, piece):
    package = pinned(index.content)
    folder = packages._folder(package)
    folder.mkdir(parents=True)
    (folder / f"{package.file}.part").write_bytes(index.content if piece is None else piece)
    assert fetch(package).read_bytes() == index.content


def test_the_hash_in_the_index_is_compared(index):
    index.listed_sha = "0" * 64
    with pytest.raises(UserError, match=f"its SHA-256 there is {'0' * 64}, not .* as pinned"):
        fetch(pinned(index.content))
    assert not index.downloads()


def test_the_hash_of_what_came_is_compared(index):
    package = pinned(index.content)
    index.listed_sha = package.sha256
    index.content = index.content[:-1] + b"?"
    with pytest.raises(UserError, match="what it sent has the SHA-256"):
        fetch(package)
    assert not parts()
    assert not (packages._folder(package) / package.file).exists()


def test_a_missing_package_names_the_sources_and_the_remedy(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError) as caught:
        fetch(Package("absent", "2", "0" * 64))
    for part in (index.url, str(tmp_path), "absent==2", "does not have it", "PIP_INDEX_URL"):
        assert part in str(caught.value)


def test_no_connection_is_one_sentence(index, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/simple: no connection") as caught:
        fetch(pinned(index.content))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("page", ["json", "html"])
def test_credentials_of_the_index_serve_its_files(index, monkeypatch, page):
    index.page, index.password = page, "p%40ss"
    package = pinned(index.content)
    with pytest.raises(UserError, match=r"HTTP 401 \(are the credentials"):
        fetch(package)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:p%2540ss@{index.host}/simple")
    assert fetch(package).exists()


def test_local_indexes_and_folders_serve(index, tmp_path, monkeypatch):
    package = pinned(index.content)
    files = tmp_path / "files"
    files.mkdir()
    (files / package.file).write_bytes(index.content)
    page = tmp_path / "simple" / "real-data"
    page.mkdir(parents=True)
    (page / "index.html").write_text(f'<a href="../../files/{package.file}">x</a>')
    other = tmp_path / "other-1.0-py3-none-any.whl"
    other.write_bytes(os.urandom(1000))
    for settings in (
        {"PIP_INDEX_URL": (tmp_path / "simple").as_uri()},
        {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(files)},
        {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (page / "index.html").as_uri()},
        {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(files / package.file)},
        {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{other} {files}"},
    ):
        with monkeypatch.context() as patch:
            patch.setenv("TFNLP_CACHE", str(tmp_path / f"cache{len(settings)}{len(str(settings))}"))
            for name, value in settings.items():
                patch.setenv(name, value)
            assert fetch(package).read_bytes() == index.content
    assert not index.asked


def test_a_find_link_may_be_the_file_itself(index, monkeypatch):
    package = pinned(index.content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"http://{index.host}/files/{package.file}")
    assert fetch(package).read_bytes() == index.content
    assert len(index.asked) == 1  # for nothing but the file


@pytest.mark.parametrize("answer", [b"no json", b"[]", b'{"files": [{"url": "x.whl"}]}', b""])
def test_what_is_no_index_is_a_sentence(index, monkeypatch, answer):
    page = (200 if answer else 503, answer, "application/json")
    monkeypatch.setattr(index, "send_page", lambda request: index.send(request, *page))
    told = "its answer is not a package index" if answer else "it answers HTTP 503"
    with pytest.raises(UserError, match=f"simple: {told}"):
        fetch(pinned(index.content))
    assert answer or len(index.asked) == 1 + package_index.RETRIES


def test_pips_config_file_is_read(index, tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {index.url}\nextra-index-url =\n  file:///none\n")
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert fetch(pinned(index.content)).exists()


def test_two_processes_download_once(index):
    package = pinned(index.content)
    code = f"from pipelines.registry.packages import *; print(fetch({package!r}))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {run.communicate(timeout=60)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(paths) == 1
    assert len(index.downloads()) == 1


def test_a_full_disk_is_a_sentence(index, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packages, "_copy", full)
    with pytest.raises(UserError, match=r"No space left on device .*TFNLP_CACHE"):
        fetch(pinned(index.content))


def test_an_unwritable_cache_is_a_sentence(index, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write .*TFNLP_CACHE"):
        fetch(pinned(index.content))


def test_members_of_a_wheel(index, tmp_path):
    package = pinned(index.content)
    inner = member(package, "data/b/c.txt")
    folder = member(package, "data/")  # not spoilt by the member inside it fetched before
    assert inner.read_bytes() == b"c"
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert sorted(map(str, files)) == ["a.txt", "b/c.txt"]
    assert member(package, "data/a.txt", into=tmp_path / "mine") == tmp_path / "mine" / "a.txt"
    asked = len(index.asked)
    member(package, "data/")
    assert len(index.asked) == asked
    with pytest.raises(UserError, match="has no member 'data/none'"):
        member(package, "data/none")


def test_damaged_files_of_the_cache_are_fetched_anew(index, capfd):
    damage = b"half"
    package = pinned(index.content)
    archive, inner, folder = (
        fetch(package),
        member(package, "data/b/c.txt"),
        member(package, "data/"),
    )
    archive.write_bytes(damage)
    assert fetch(package).read_bytes() == index.content
    assert "is damaged; fetching it anew" in capfd.readouterr().err
    inner.write_bytes(damage)
    (folder / "a.txt").write_bytes(damage)
    assert member(package, "data/b/c.txt").read_bytes() == b"c"
    assert (member(package, "data/") / "a.txt").read_bytes() not in (damage, b"")
    archive.write_bytes(damage)
    inner.unlink()
    assert member(package, "data/b/c.txt").read_bytes() == b"c"


def test_what_a_killed_extraction_left_is_cleared(index):
    package = pinned(index.content)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = f".tfnlp-new-{socket.gethostname()}-{dead.pid}-0"
    left = packages._folder(package) / name
    left.mkdir(parents=True)
    (left / "half").write_text("written")
    assert sorted(path.name for path in member(package, "data/").iterdir()) == ["a.txt", "b"]
    assert not left.exists()


def test_an_archive_of_little_else_is_not_kept(index):
    package = pinned(index.content)
    member(package, "data/b/c.txt")
    assert (packages._folder(package) / package.file).exists()
    member(package, "other")
    assert not (packages._folder(package) / package.file).exists()


def test_members_of_an_sdist_start_below_its_top(tmp_path, monkeypatch, index):
    content = sdist({"real-1.0/data/x.txt": b"x", "real-1.0/setup.py": b"raise SystemExit"})
    (tmp_path / "real-1.0.tar.gz").write_bytes(content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert member(pinned(content, "real-1.0.tar.gz"), "data/x.txt").read_bytes() == b"x"


@pytest.mark.parametrize("evil", ["d/../../evil", "d/..", "d//evil", "d/a\\..\\evil"])
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_archive_cannot_write_outside(tmp_path, monkeypatch, index, evil, kind):
    content = wheel({evil: b"!"}) if kind == "wheel" else sdist({f"top/{evil}": b"!"})
    name = "r-1-py3-none-any.whl" if kind == "wheel" else "r-1.tar.gz"
    (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match="unsafe path"):
        member(pinned(content, name), "d/")
    assert not list(tmp_path.rglob("*evil"))


def test_links_in_an_archive_are_not_followed(tmp_path, monkeypatch, index):
    content = sdist({"top/d/a": b"a"}, links={"top/d/link": "/etc/passwd"})
    (tmp_path / "r-1.tar.gz").write_bytes(content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    folder = member(pinned(content, "r-1.tar.gz"), "d/")
    assert [path.name for path in folder.iterdir()] == ["a"]
