"""The package indexes and folders that pip is set up to use, asked for one file.

pip has no public way to ask an index where a file lies without building its metadata, which runs
an sdist's ``setup.py``. The library `unearth` has one, but takes a page that is refused or cannot
be read for an empty one, and brings a second HTTP client that would have to be set up like ours.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests
import urllib3
from requests.adapters import HTTPAdapter

RETRIES = 3
_TIMEOUT = 15.0  # seconds, pip's own default
_ACCEPT = ", ".join(
    (
        "application/vnd.pypi.simple.v1+json",
        "application/vnd.pypi.simple.v1+html;q=0.2",
        "text/html;q=0.01",
    )
)


class RefusedError(Exception):
    """Why a source does not give the file."""


@dataclass(frozen=True)
class Link:
    """A file as an index offers it."""

    url: str
    filename: str
    sha256: str | None


def pip_settings() -> dict[str, str]:
    """Return pip's settings, by their long names, as ``pip download`` would see them.

    Example::

        pip_settings().get("index-url")
    """
    settings: dict[str, str] = {}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for section in ("global", "install", "download"):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                settings[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    for key, value in os.environ.items():
        if key.startswith("PIP_") and value:
            settings[key.removeprefix("PIP_").lower().replace("_", "-")] = value
    return settings


class Registry:
    """The indexes and folders that pip is set up to use, and how it reaches them.

    Example::

        Registry(pip_settings()).indexes
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.find_links = settings.get("find-links", "").split()
        self.indexes: list[str] = []
        if settings.get("no-index", "").lower() not in {"1", "true", "yes", "on"}:
            default = settings.get("index-url", "https://pypi.org/simple")
            self.indexes = [default, *settings.get("extra-index-url", "").split()]
        timeout = settings.get("timeout") or settings.get("default-timeout")
        self.timeout = float(timeout or _TIMEOUT)
        self.trusted = set(settings.get("trusted-host", "").split())
        # Given with each request: on the session, REQUESTS_CA_BUNDLE and *_proxy would win.
        self.options: dict[str, Any] = {"timeout": self.timeout}
        if proxy := settings.get("proxy"):
            self.options["proxies"] = {"http": proxy, "https": proxy}
        self.verify = settings.get("cert")
        # Each retry is not news; what fails in the end is said in one sentence.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self.session = requests.Session()
        self.session.cert = settings.get("client-cert")
        retry = urllib3.Retry(
            total=RETRIES,
            backoff_factor=0.25,
            status_forcelist=[500, 502, 503, 504],
            raise_on_status=False,  # the last answer is returned, and its status told
        )
        self.session.mount("https://", HTTPAdapter(max_retries=retry))
        self.session.mount("http://", HTTPAdapter(max_retries=retry))

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Ask for a URL; the body is not read yet."""
        parts = urlsplit(url)
        trusted = parts.hostname in self.trusted or f"{parts.hostname}:{parts.port}" in self.trusted
        verify = False if trusted else self.verify
        return self.session.get(url, headers=headers, verify=verify, stream=True, **self.options)

    def links(self, source: str, project: str, wanted: Link) -> list[Link]:
        """List what a source offers that can be the wanted file.

        Args:
            source: one of ``find_links`` or ``indexes``.
            project: the package's name.
            wanted: the file's name and SHA-256.

        Raises:
            RefusedError: the source has a file of that name with another SHA-256, or is no index.
            requests.RequestException: the source cannot be reached.
        """
        url = source
        if source in self.indexes:
            name = re.sub(r"[-_.]+", "-", project).lower()
            url = f"{source.rstrip('/')}/{name}/"
        elif _name(source) == wanted.filename:
            return [Link(source, wanted.filename, None)]
        if (path := local_path(url)) is not None:
            if source not in self.indexes and path.is_dir():
                file = path / wanted.filename
                return [Link(file.as_uri(), file.name, None)] if file.exists() else []
            page = path / "index.html" if path.is_dir() else path
            # Any other file is an archive that is not wanted.
            exists = page.suffix in {".html", ".htm"} and page.exists()
            text = page.read_text("utf-8", errors="replace") if exists else ""
            found = _read_html(text, page.as_uri())
        else:
            found = self._page(url)
        return [_with_credentials(link, url) for link in _matching(found, wanted)]

    def _page(self, url: str) -> list[Link]:
        """Read a page of links from the web; one that is not there has none."""
        with self.get(url, {"Accept": _ACCEPT}) as response:
            if response.status_code == requests.codes.not_found:
                return []
            response.raise_for_status()
            try:
                if "json" in response.headers.get("Content-Type", ""):
                    return _read_json(response.json(), response.url)
                return _read_html(response.text, response.url)
            except (KeyError, TypeError, ValueError) as error:
                raise RefusedError("its answer is not a package index") from error


def local_path(url: str) -> Path | None:
    """Return the path that a file: URL or a plain path stands for, None for a web address.

    Example:
        >>> local_path("https://example.org/simple")
        >>> local_path("file:///srv/wheels").as_posix()
        '/srv/wheels'
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme in {"http", "https"} else Path(url).expanduser().absolute()


class _Anchors(HTMLParser):
    """Collects the links of a page (PEP 503, or any page that --find-links names)."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self.base = urljoin(self.base, href)
        elif tag == "a" and href:
            self.urls.append(urljoin(self.base, href.strip()))


def _read_html(page: str, url: str) -> list[Link]:
    """Read an index page in HTML: the hash stands in the link's fragment."""
    anchors = _Anchors(url)
    anchors.feed(page)
    links = []
    for target in anchors.urls:
        parts = urlsplit(target)
        sha256 = parse_qs(parts.fragment).get("sha256", [None])[0]
        links.append(Link(urlunsplit(parts._replace(fragment="")), _name(target), sha256))
    return links


def _read_json(page: Any, url: str) -> list[Link]:
    """Read an index page in JSON (PEP 691)."""
    return [
        Link(urljoin(url, file["url"]), file["filename"], file.get("hashes", {}).get("sha256"))
        for file in page["files"]
    ]


def _name(url: str) -> str:
    """Return the name of the file that a URL or a path stands for."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


def _matching(links: list[Link], wanted: Link) -> list[Link]:
    """Choose by the index's hash, and by the file's name only where it gives none."""
    same_hash = [link for link in links if link.sha256 == wanted.sha256]
    same_name = [link for link in links if link.filename == wanted.filename]
    matches = same_hash or [link for link in same_name if link.sha256 is None]
    if same_name and not matches:
        raise RefusedError(
            f"its SHA-256 there is {same_name[0].sha256}, not {wanted.sha256} as pinned"
        )
    return matches


def _with_credentials(link: Link, index: str) -> Link:
    """Give a link on the index's own host the credentials in the index's URL, as pip does."""
    parts, asked = urlsplit(link.url), urlsplit(index)
    user, at, host = asked.netloc.rpartition("@")
    if at and parts.netloc == host:
        parts = parts._replace(netloc=f"{user}@{host}")
    return Link(urlunsplit(parts), link.filename, link.sha256)
