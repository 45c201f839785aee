"""Hooks of `mkdocs build`: pages from elsewhere and notebooks join, links to code become text."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
_INSIDE = {page: source for source, page in OUTSIDE.items()}
_LINK = re.compile(r"(?<!!)\[([^]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)|(!\[[^]]*\])\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Give headings the anchors that the repository's own pages have, Chinese ones too."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/, and a page for each notebook, as it was executed."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    for book in sorted((ROOT / "docs").glob("notebooks/*.ipynb")):
        pictures = {"output_files_dir": f"{book.stem}_files"}
        text, found = MarkdownExporter().from_filename(str(book), resources=pictures)
        files.append(File.generated(config, f"notebooks/{book.stem}.md", content=text))
        for name, picture in found["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    source = _INSIDE.get(here, f"docs/{here}")

    def link(found: re.Match[str]) -> str:
        label, target, anchor, picture, image = found.groups()
        address = image or target
        if "://" in address:
            return found[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        there = OUTSIDE.get(inside) or re.sub(r"\.ipynb$", ".md", inside.removeprefix("docs/"))
        if not inside.startswith("docs/") and inside not in OUTSIDE:
            return label or ""
        to = posixpath.relpath(there, posixpath.dirname(here) or ".")
        return f"{picture}({to})" if image else f"[{label}]({to}{anchor or ''})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def slug(heading: str, separator: str) -> str:
    """Return the anchor of a heading: small letters and digits of any script, and hyphens.

    Example:
        >>> slug("What `serve` is: 网页", "-")
        'what-serve-is-网页'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)
