"""What an option needs to have an effect: stated where it is declared, checked before work begins.

An option that would change nothing is refused, for whoever gave it believes that it does. Only a
value other than the default counts: experiment.yaml holds all options.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from tfnlp.options import default_of, flag_of
from tfnlp.runtime.commands import quoted


@dataclass(frozen=True)
class Need:
    """What an option needs; `tfnlp.options.option` takes it.

    Attributes:
        met: what a command knows of itself -> whether the option's value can have an effect. Of an
            experiment that is a `tfnlp.data_checks.effects.Known`, of other commands what they say.
        otherwise: how a sentence about the option goes on where it can have none; ``{known...}``
            stands for what is known.
        remedy: what would give it one, besides leaving it out; "" if nothing would.

    Example::

        overlap: int = option(
            32,
            "what neighbouring windows share [tokens]",
            needs=Need(
                lambda known: known.options.windows > 1,
                "has no effect with --windows 1",
                "raise --windows",
            ),
        )
    """

    met: Callable[[Any], Any]
    otherwise: str
    remedy: str = ""


def unmet(
    section: Any, known: Any, defaults: Mapping[str, Any] | None = None, prefix: str = ""
) -> Iterator[str]:
    """Yield a sentence for each option of a section that lacks what it needs.

    Args:
        section: an instance of a section.
        known: what the needs are asked about.
        defaults: by option, where they are not the section's own.
        prefix: of the flags, as `tfnlp.options.add_flags` takes it.

    Example:
        >>> from tfnlp.options import option
        >>> need = Need(lambda known: known > 1, "has no effect on {known} row", "add rows")
        >>> share = option(0.5, "a share", needs=need)
        >>> Section = dataclasses.make_dataclass("Section", [("share", float, share)])
        >>> list(unmet(Section(0.1), 1)), list(unmet(Section(), 1))
        (['--share 0.1 has no effect on 1 row (add rows, or leave out --share)'], [])
    """
    own = defaults or {}
    for field in dataclasses.fields(section):
        need: Need | None = field.metadata.get("needs")
        value = getattr(section, field.name)
        if need is None or value == own.get(field.name, default_of(field)) or need.met(known):
            continue
        flag = flag_of(field, prefix)
        said = f"{flag} {quoted(value)}"
        if isinstance(value, bool):
            flag = said = flag if value else flag.replace("--", "--no-", 1)
        elif isinstance(value, dict | tuple):
            said = flag
        remedy = f"{need.remedy}, or leave out {flag}" if need.remedy else f"leave out {flag}"
        yield said + f" {need.otherwise} ({remedy})".format(known=known)


def check(section: Any, known: Any) -> None:
    """Raise UserError for the first option of a section that lacks what it needs.

    Example::

        check(options, options)
    """
    for sentence in unmet(section, known):
        raise UserError(sentence)
