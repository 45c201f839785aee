"""Versions of TF Serving, and what is known of the ops that each registers.

Sources: tensorflow/serving's ``tensorflow_serving/workspace.bzl`` and pull request 4057 (TF Text
    2.12.1, still in February 2025), issues 2267 (2.18 without ``TFText>RoundRobinTrim``), 2064
    (2.11.0 without ``FastBertNormalize``) and 2214 (no XLA compiler in the images), and the pull
    requests "Update version for ... release" for the patches; that of 2.21 is the number of
    tensorflow-serving-api. No image was looked into, nor was Docker Hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.errors import UserError

LISTED = "2.12"  # the version whose ops are listed
# The last patch of each minor version of which a release was seen; image tags name all three.
PATCHES = {
    "2.11": "2.11.1",
    "2.12": "2.12.2",
    "2.13": "2.13.1",
    "2.14": "2.14.1",
    "2.15": "2.15.1",
    "2.16": "2.16.1",
    "2.17": "2.17.1",
    "2.18": "2.18.0",
    "2.19": "2.19.1",
    "2.20": "2.20.0",
    "2.21": "2.21.0",
}
DEFAULT = "2.19"
_SAME = ("2.13", "2.14", "2.15", "2.16", "2.17", "2.18", "2.19")


@dataclass(frozen=True)
class Release:
    """A version of TF Serving.

    Attributes:
        minor: such as ``2.19``.
        tag: of its image, such as ``2.19.1``.
        basis: what a comparison of ops with the list says of this version, in a sentence.
        certain: an op that is not listed is missing there.
        doubt: why the comparison may be wrong, in a sentence; "" if it should not be.

    Example:
        >>> Release.of("2.19").tag
        '2.19.1'
    """

    minor: str
    tag: str
    basis: str
    certain: bool
    doubt: str

    @classmethod
    def of(cls, text: str) -> Release:
        """Read ``--serving-version``.

        Args:
            text: ``2.19``, or a patch, ``2.19.1``.

        Raises:
            UserError: it is no such version, or one of which nothing is known here.
        """
        minor = ".".join(text.split(".")[:2])
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", text, re.ASCII) or minor not in PATCHES:
            raise UserError(
                f"--serving-version {text} is not known; give one of {', '.join(PATCHES)}, or a "
                "patch of one, such as 2.19.1"
            )
        tag = PATCHES[minor] if text == minor else text
        return cls(minor, tag, *_ops(minor))


def _ops(minor: str) -> tuple[str, bool, str]:
    """Return how far the list of ops holds for a version: basis, certain, doubt."""
    listed = f"its ops are all among those of TensorFlow {LISTED} with TF Text {LISTED}"
    if minor == LISTED:
        return f"{listed}, which TF Serving {LISTED} links", True, ""
    if minor in _SAME:
        return (
            f"{listed}; TF Serving {minor} links TF Text {LISTED} too, and a TensorFlow {minor} "
            "that keeps older ops, as it promises (assumed: no list was made of it)",
            True,
            "",
        )
    if minor == "2.11":
        doubt = (
            "the ops of TF Serving 2.11 are not listed here, and 2.11.0 was reported to lack TF "
            "Text's fast tokenizers (tensorflow/serving issue 2064): try the model there, or take "
            "2.12 or later"
        )
        return f"{listed}; what TF Serving 2.11 lacks of them is not known here", True, doubt
    doubt = (
        f"which TF Text TF Serving {minor} links is not known here, and no list of its ops was "
        "made: try the model there before you rely on it"
    )
    return f"{listed}; that TF Serving {minor} has them too is assumed", False, doubt
