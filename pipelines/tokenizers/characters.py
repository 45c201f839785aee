"""Characters of UTF-8 that are written a byte at a time.

Dimensions: B texts.
"""

from __future__ import annotations

import tensorflow as tf


def begun(last: tf.Tensor) -> tf.Tensor:
    """Return how many bytes at the end of each text begin a character that does not end there.

    Args:
        last: int32 (B, 3), the last byte of a text, the one before it and the third, 0 for none.

    Returns:
        int32 (B,), from 0 to 3.

    Example::

        begun(tf.constant([[0xB8, 0xE4, 0x20]]))  # [2]: a character of Chinese lacks its third byte

    Source: RFC 3629, section 3.
    """
    # The bytes of the character that each byte begins; of one that begins none, 1.
    wanted = 1 + tf.add_n([tf.cast(last >= least, tf.int32) for least in (0xC2, 0xE0, 0xF0)])
    unfinished = (wanted > [1, 2, 3]) & (last < 0xF5)
    follows = (last >= 0x80) & (last < 0xC0)
    third = tf.where(follows[:, 0] & follows[:, 1] & unfinished[:, 2], 3, 0)
    second = tf.where(follows[:, 0] & unfinished[:, 1], 2, third)
    return tf.where(unfinished[:, 0], 1, second)
