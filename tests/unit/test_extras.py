"""What is said of further packages names extras that exist, and installs this package."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import tfnlp

ROOT = Path(tfnlp.__file__).parents[1]


def texts() -> dict[str, str]:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*")]
    files += [path for name in ("tfnlp", "pipelines") for path in (ROOT / name).rglob("*.py")]
    found = {str(path): path.read_text("utf-8") for path in files if path.suffix in (".md", ".py")}
    assert any("README" in name for name in found)
    return found


def test_the_name_on_the_public_index_is_a_strangers():
    for name, text in texts().items():
        assert not re.search(r"tfnlp\[|pip install (-U )?'?tfnlp", text), name


def test_every_extra_that_is_named_exists():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    extras = setup["options.extras_require"]
    named = {
        extra
        for text in texts().values()
        for listed in re.findall(r"pip install -e '\.\[([\w,]+)\]'", text)
        for extra in listed.split(",")
    }
    assert {"beam", "applications", "test"} <= named <= set(extras)
    assert extras["graph"] == extras["applications"]  # its name before
