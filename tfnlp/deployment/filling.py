"""Templates filled, and strings as the files' formats want them."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

MODELS = "/models"  # in the container


def fill(template: str, **values: Any) -> str:
    """Return a file of ``templates/`` with its places, ``$name``, filled.

    Example:
        >>> fill("models.config", models="").splitlines()[-2:]
        ['model_config_list {', '}']
    """
    text = resources.files("tfnlp.deployment").joinpath("templates", template).read_text("utf-8")
    return Template(text).substitute(values)


def plain(path: Path) -> Path:
    """Return an absolute path without ``..``, so that its parts have names; links stay.

    Example:
        >>> plain(Path("/srv/models/../trec")).as_posix()
        '/srv/trec'
    """
    return Path(os.path.normpath(path.absolute()))


def relative(folder: Path, out: Path) -> str:
    """Return a folder's path as seen from the deployment's.

    Example:
        >>> relative(Path("saved_models/trec"), Path("deploy"))
        '../saved_models/trec'
    """
    return os.path.relpath(os.path.realpath(folder), os.path.realpath(out))


def proto_text(text: str) -> str:
    r"""Return a string as protobuf's text format has it between quotes, in ASCII.

    Example:
        >>> print(proto_text("naïve"))
        na\303\257ve
    """
    from google.protobuf import text_encoding

    escaped: str = text_encoding.CEscape(text.encode(), as_utf8=False)
    return escaped


def yaml_text(text: str) -> str:
    """Return a string as a quoted YAML scalar, in ASCII.

    Example:
        >>> yaml_text("yes")
        '"yes"'
    """
    import yaml

    dumped: str = yaml.safe_dump(text, default_style='"', width=2**20, allow_unicode=False)
    return dumped.rstrip("\n")
