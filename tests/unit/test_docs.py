"""The pages: their commands parse, their links lead somewhere, and the site is built from them."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import tfnlp
from pipelines.errors import UserError
from tfnlp.options import Parser

ROOT = Path(tfnlp.__file__).parents[1]
READMES = sorted(ROOT.glob("README*.md"))
HISTORY = ROOT / "CHANGELOG.md"  # which names commands that are gone
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks/README.md"} - {HISTORY}
)
FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
READ = ("--train", "--validation", "--test", "--input")  # flags that name a file of the user's


def each(pages):
    """Return a mark that runs a test for each of some pages."""
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


class ParsedError(Exception):
    """A command line was read to its end."""


def commands(text: str) -> Iterator[list[str]]:
    """Yield each command line of a page that runs a module of tfnlp: the module, and its arguments.

    Inline code counts where it has arguments.
    """
    inline = [code for code in INLINE.findall(FENCED.sub("", text)) if code.count(" ") > 2]
    for block in (*FENCED.findall(text), *inline):
        for line in block.replace("\\\n", " ").splitlines():
            if "python -m tfnlp" in line:
                yield from _commands_of(line)


def _commands_of(line: str) -> Iterator[list[str]]:
    """Yield the commands of one line, which pipes, `&&` and redirections part."""
    words = shlex.shlex(re.sub(r"\$\w+", "1", line), posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: list[str] = []
    for word in [*words, ";"]:
        if word.strip("();<>|&"):
            command.append(word)
            continue
        if command[:2] == ["python", "-m"] and command[2].split(".")[0] == "tfnlp":
            yield _full_name(command[2:])
        command = []


def _full_name(command: list[str]) -> list[str]:
    """Turn `tfnlp train`, which runs `tfnlp.train`, into that."""
    module, *rest = command
    if module == "tfnlp" and rest and not rest[0].startswith("-"):
        return [f"tfnlp.{rest[0]}", *rest[1:]]
    return command


def check(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a command's own parser read its arguments, and stop it there.

    Raises:
        UserError: the command names a task or an entry that is not there.
        SystemExit: a flag is unknown, or a value is not one that it takes.
    """
    module = importlib.import_module(command[0])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{command[0]}.__main__")
    parse = Parser.parse

    def parsed(self: Parser, argv: list[str]) -> None:
        parse(self, argv)
        raise ParsedError

    monkeypatch.setattr(Parser, "parse", parsed)
    monkeypatch.setattr("tfnlp.cli.arguments.read_yaml", lambda path: {})
    try:
        module.main(command[1:])
    except ParsedError:
        pass
    except SystemExit as stopped:
        if stopped.code:
            raise
    finally:
        monkeypatch.undo()


def faults(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> list[str]:
    """Return the commands of a page that do not parse, each with what its parser says."""
    found = []
    for command in commands(text):
        if any(word.startswith("mypackage.") for word in command):  # the reader's own
            continue
        try:
            check(command, monkeypatch)
        except (SystemExit, UserError, ImportError) as error:
            said = capsys.readouterr().err if isinstance(error, SystemExit) else error
            found.append(f"{shlex.join(command)}: {said}")
    return found


@each(PAGES)
def test_every_command_parses(page, monkeypatch, capsys):
    assert not faults(page.read_text("utf-8"), monkeypatch, capsys)


def test_a_command_that_does_not_parse_is_found(monkeypatch, capsys):
    blocks = {
        "```\npip install -e . && python -m tfnlp.train --lr 1\n```\n": "no option '--lr'",
        "```\ncat a | python -m tfnlp.predict \\\n    trec --colum a=b > c\n```\n": "--column?",
        "```\npython -m tfnlp.train --epochs few  # a comment\n```\n": "not a whole number",
        "```\npython -m tfnlp.train --task irony\n```\n": "no task 'irony'",
        "```\npython -m tfnlp.tran\n```\n": "No module named",
        "```\npython -m tfnlp train --nope\n```\n": "no option '--nope'",
        "As `python -m tfnlp.serve a --nope` does.\n": "no option '--nope'",
    }
    for block, said in blocks.items():
        (fault,) = faults(block, monkeypatch, capsys)
        assert said in fault


def test_pages_have_commands():
    count = {page: len(list(commands(page.read_text("utf-8")))) for page in PAGES}
    assert sum(count.values()) > 60
    assert all(count[page] > 4 for page in READMES)


@each(PAGES)
def test_a_file_that_a_command_reads_is_shown(page):
    text = page.read_text("utf-8")
    for command in commands(text):
        for flag, file in pairwise(command):
            if flag in READ and "." in file and not re.search(r"[/*]", file):
                assert f"`{file}`" in text, f"{page.name} does not show {file}"


@each([*PAGES, HISTORY])
def test_every_link_leads_somewhere(page):
    assert not broken_links(page, page.read_text("utf-8"))


def test_a_link_that_leads_nowhere_is_found():
    page = ROOT / "README.md"
    for link in ("docs/nothing.md", "docs/data.md#nothing", "#nothing"):
        assert broken_links(page, f"[a]({link})") == [link]
    assert broken_links(page, "[a](docs/data.md#files) `[a](b)` [c](https://example.org)") == []


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page whose file or heading is not there."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", INLINE.sub("", FENCED.sub("", text))):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def anchors(page: Path) -> set[str]:
    """Return what links to a page's headings can end in, as GitHub and docs/_hooks.py name them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    texts = [re.sub(r"\]\([^)]*\)", "", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


@each(READMES)
def test_a_readme_is_short_and_its_commands_can_be_pasted(page):
    text = page.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    for block in FENCED.findall(text):
        for line in block.splitlines():
            if line.startswith(("python", "pip", "curl", "cd ")):
                assert not re.search(r" \[-|<|\b(NAME|FILE|MODEL|RUN)\b", line), line


def test_every_page_is_in_the_site():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    listed = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    docs = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert docs <= listed


def test_the_extra_has_what_the_site_needs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    assert "mkdocstrings[python]" in setup["options.extras_require"]["docs"]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="pip install -e '.[docs]'")
def test_the_site_is_built(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    reference = (tmp_path / "reference/index.html").read_text("utf-8")
    assert "encode_targets" in reference
    assert "tfnlp.api.fitting.run_study" in reference
    assert "Example::" not in reference
