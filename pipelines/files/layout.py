"""How a text file is laid out, where it does not say so itself: delimiter, quotes, encoding."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pipelines.cells import separator
from pipelines.errors import UserError

Quoting = Literal["none", "minimal"]

# Of hundreds of encodings those that files are written in: the fewer, the surer a guess.
_USUAL = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
]
# What stands beside ASCII in Western Europe; other letters in cp1252 speak for another encoding.
_WESTERN = frozenset(
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüœßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŒ¿¡«»‹›‘’‚“”„–—…€£§°·•ªº\u00a0"
)
_SAMPLED = 10_000_000  # bytes looked through for a guess
_ENOUGH = 20_000  # bytes of those of its lines that are not ASCII


@dataclass(frozen=True)
class Layout:
    r"""How a text file is laid out.

    Attributes:
        delimiter: between the fields of CSV and TSV: a character, ``tab`` or ``space``; None finds
            out which by the agreement of the rows (a TSV file's is the tab).
        quoting: ``minimal``: a field that begins with a quote runs to the next one, over line ends
            too, as RFC 4180 says; ``none``: a quote is a character like any other, and a line a
            row; None is minimal, but where the lines inside quotes are rows they stay rows.
        encoding: its name, as Python knows it; None is UTF-8.

    Raises:
        UserError: a value is none of these.

    Example:
        >>> Layout(delimiter="tab").character
        '\t'
    """

    delimiter: str | None = None
    quoting: Quoting | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        character = self.character
        if character is not None and (len(character) != 1 or character in '"\r\n\0'):
            raise UserError(
                f"--delimiter {self.delimiter!r} is not one character that can stand between "
                "fields (such as ',' ';' '|' or tab)"
            )
        with suppress(LookupError):
            if self.encoding is None or codecs.lookup(self.encoding)._is_text_encoding:
                return
        raise UserError(
            f"--encoding {self.encoding!r} is not the name of an encoding (such as windows-1252, "
            "utf-16, gb18030 or shift_jis)"
        )

    @property
    def character(self) -> str | None:
        """The delimiter as it stands in a file; None where the file is to say it."""
        return None if self.delimiter is None else separator(self.delimiter)

    @property
    def codec(self) -> str:
        """The name of the codec that decodes a file; of UTF-8 the one that drops a mark."""
        name = codecs.lookup(self.encoding or "utf-8").name
        return "utf-8-sig" if name == "utf-8" else name

    def check(self, forms: Iterable[str]) -> None:
        """Raise UserError if something is given that no file of these formats has.

        Example:
            >>> Layout(delimiter=";").check(["jsonl"])
            Traceback (most recent call last):
            pipelines.errors.UserError: --delimiter is for CSV and TSV files (leave it out)
        """
        told = set(forms)
        for flag, value in (("--delimiter", self.delimiter), ("--quoting", self.quoting)):
            if value is not None and not told & {"csv", "tsv"}:
                raise UserError(f"{flag} is for CSV and TSV files (leave it out)")
        if self.encoding is not None and not told:
            raise UserError("--encoding is for files (leave it out)")


def encoding_remedy(path: str) -> str:
    """Return what to do about a file that is not UTF-8, with the encoding it seems to have.

    Example:
        >>> _ = Path("a.csv").write_bytes("Привет, как дела?".encode("cp1251"))
        >>> encoding_remedy("a.csv")
        'save the file as UTF-8, or use --encoding windows-1251, as it seems to be written'
    """
    guess = _guess(path)
    seems = f"{guess}, as it seems to be written" if guess else "with the name of its own"
    return f"save the file as UTF-8, or use --encoding {seems}"


def _guess(path: str) -> str:
    """Return the encoding that the bytes of a file speak for, "" if they do not say."""
    from charset_normalizer import from_bytes  # 50 ms, which only this error needs

    sample = b""
    with suppress(OSError, EOFError, zlib.error), _opened(path) as file:
        strange = (line for line in file.readlines(_SAMPLED) if not line.isascii())
        sample = b"".join(strange)[:_ENOUGH]
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    with suppress(UnicodeDecodeError):
        # The codecs of Europe share most letters, and the detector then takes any of them.
        beside = [letter for letter in sample.decode("cp1252") if not letter.isascii()]
        words = sum(letter in _WESTERN for letter in beside)
        if beside and words > 0.98 * len(beside):
            return "windows-1252"
    best = from_bytes(sample, cp_isolation=_USUAL).best() if sample else None
    return best.encoding.replace("cp12", "windows-12") if best else ""


def _opened(path: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.endswith(".gz") else Path(path).open("rb")


USUAL = Layout()
