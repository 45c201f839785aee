"""What a shell offers on TAB, by argcomplete: commands, flags, and what may follow a flag.

``python -m tfnlp --print-completion bash`` prints a script for the shell. On TAB it runs
``python -m tfnlp`` with the line in ``COMP_LINE``, which runs the command that is named there; its
parser answers in place of reading the command line. So there is no list of flags here, and a new
command, entry or option is offered as soon as it is there.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import discover
from pipelines.errors import UserError

# The folder of whose entries an argument names one. Another text may follow too, such as a module.
_FOLDERS = {
    "--task": "tfnlp.tasks",
    "--strategy": "tfnlp.strategies",
    "--peft": "tfnlp.peft",
    "--augment": "tfnlp.augmenters",
    "--track": "tfnlp.trackers",
    "--dataset": "pipelines.datasets",
    "--backbone": "tfnlp.backbones.catalog",
    "--by": "tfnlp.explanations",
    "--check": "tfnlp.audits",
    "study": "tfnlp.studies",
    "name": "tfnlp.applications",
}
_WITH_HYPHENS = ("--dataset", "--backbone")

# argcomplete knows commands by their first word, which is `python` here. So a line that runs tfnlp
# goes to its function, and any other to what completed `python` before.
_BASH_AND_ZSH = """
_tfnlp_answer() { PYTHON -m tfnlp; }
_tfnlp() {
    if [[ "${COMP_LINE-${words[*]}}" == *" -m tfnlp"* ]]; then
        _python_argcomplete__tfnlp_answer "$@"
    elif [[ -n "$_tfnlp_other" ]]; then
        "$_tfnlp_other" "$@"
    fi
}
"""
_BASH = r"""
_tfnlp_completer() { complete -p "$1" 2> /dev/null | sed -n 's/.*-F \([^ ]*\).*/\1/p'; }
if [[ -z "$(_tfnlp_completer python)" ]]; then
    "$(_tfnlp_completer -D)" python 2> /dev/null  # bash-completion loads a command's when needed
fi
if [[ "$(_tfnlp_completer python)" != _tfnlp ]]; then
    _tfnlp_other="$(_tfnlp_completer python)"
fi
complete -o default -o bashdefault -F _tfnlp python python3
"""
_ZSH = """
_tfnlp_other=_python
compdef _tfnlp python python3
"""
_FISH = """
complete -c python -c python3 -n "string match -q -- '* -m tfnlp*' (commandline -cp)" \\
    -f -a '(__fish__tfnlp_complete)'
"""
_LAST = {"bash": _BASH_AND_ZSH + _BASH, "zsh": _BASH_AND_ZSH + _ZSH, "fish": _FISH}
SHELLS = tuple(_LAST)


def script(shell: str) -> str:
    """Return what a shell evaluates to complete ``python -m tfnlp``.

    Raises:
        UserError: argcomplete is not installed.
    """
    try:
        from argcomplete import shellcode
    except ImportError as error:
        raise UserError("completion needs argcomplete (pip install -e '.[completion]')") from error
    python = shlex.quote(sys.executable)
    run = f"{python} -m tfnlp" if shell == "fish" else "_tfnlp_answer"
    code = shellcode(["_tfnlp"], shell=shell, argcomplete_script=run)
    return f"{code}{_LAST[shell].replace('PYTHON', python)}"


def asked() -> bool:
    """Return whether a shell asks what may follow, rather than a person for a command."""
    return "_ARGCOMPLETE" in os.environ


def typed(names: list[str]) -> tuple[list[str], list[str]]:
    """Return what ``python -m tfnlp`` is to read of a line, and the commands that it has to offer.

    Args:
        names: the commands', such as ``train``.

    Returns:
        The arguments before the cursor, ``train`` first for ``python -m tfnlp.train`` too, without
        a last flag whose value may be what is typed; and the names, as ``tfnlp.train`` where the
        cursor is in the module.
    """
    from argcomplete import split_line

    words: list[str] = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    # The last one, for zsh gives all commands of a line.
    place = len(words) - words[::-1].index("-m")
    module, *argv = words[place:] or [""]
    if not module:
        place, names = place - 1, [f"tfnlp.{name}" for name in names]
    elif module != "tfnlp":
        argv = [module.removeprefix("tfnlp."), *argv]
    elif argv and not argv[0].startswith("-"):
        place += 1
    os.environ["_ARGCOMPLETE"] = str(place + 1)  # after this word, counted from 1, come arguments
    if argv and argv[-1].startswith("-") and "=" not in argv[-1]:
        argv.pop()
    return argv, names


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what may follow and exit, if it asks."""
    if asked():
        from argcomplete import autocomplete

        autocomplete(parser, exit_method=sys.exit, default_completer=_values)


def _values(prefix: str, action: argparse.Action, **_: Any) -> Sequence[str]:
    """Return the entries that an argument may name, or files."""
    from argcomplete.completers import FilesCompleter

    name = (action.option_strings or [action.dest])[0]
    found = discover.names(_FOLDERS[name]) if name in _FOLDERS else []
    if name in _WITH_HYPHENS:
        found = [entry.replace("_", "-") for entry in found]
    return [entry for entry in found if entry.startswith(prefix)] or FilesCompleter()(prefix)
