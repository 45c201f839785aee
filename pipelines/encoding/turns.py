"""Conversations as requests have them -> their turns, in the graph.

Written in ops that TF Serving has since 2.12.

Dimensions: B batch, N turns of a row.
"""

from __future__ import annotations

import tensorflow as tf

from pipelines.conversations import LINE_END, SYSTEM, TURN_END

# What Python's str.strip takes for white space; RE2's \s is ASCII only.
_SPACE = r"[\p{Z}\x{09}-\x{0D}\x{1C}-\x{1F}\x{85}]+"


def split(texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
    r"""Return the system prompts and the turns of conversations.

    Args:
        texts: string (B,), a turn a line, as `pipelines.conversations.joined` writes them.

    Returns:
        Prompts, string (B,), empty where there is none, and turns, string, ragged (B, N), none of
        them blank, as `pipelines.conversations.from_lines` finds them.

    Example::

        split(tf.constant(["\x01Be kind.\nHi!\nHello."]))  # ["Be kind."], [["Hi!", "Hello."]]
    """
    lines = tf.strings.split(tf.strings.regex_replace(texts, "\r\n?", TURN_END), TURN_END)
    lines = lines.with_values(_stripped(lines.flat_values))
    lines = tf.ragged.boolean_mask(lines, lines != "")
    first = lines[:, :1].to_tensor("", shape=[None, 1])[:, 0]
    prompted = tf.strings.substr(first, 0, 1) == SYSTEM
    prompts = tf.where(prompted, _bare(first), "")
    spoken = lines.with_values(_bare(lines.flat_values))
    # A first line that is nothing but the mark is not blank, and no prompt.
    places = tf.ragged.range(spoken.row_lengths()).values
    kept = spoken.values != ""
    kept &= ~(tf.gather(prompted, spoken.value_rowids()) & (places == 0))
    turns = tf.ragged.boolean_mask(spoken, spoken.with_values(kept))
    # As where a file is read, a prompt alone is no conversation.
    return tf.where(turns.row_lengths() > 0, prompts, ""), turns


def _stripped(texts: tf.Tensor) -> tf.Tensor:
    """Strip white space as Python does."""
    return tf.strings.regex_replace(texts, f"^{_SPACE}|{_SPACE}$", "")


def _bare(texts: tf.Tensor) -> tf.Tensor:
    """Leave out marks of system prompts, and write line ends as such."""
    plain = tf.strings.regex_replace(texts, SYSTEM, "")
    return _stripped(tf.strings.regex_replace(plain, LINE_END, "\n"))
