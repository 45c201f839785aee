"""Memory that is given back."""

import gc
import weakref

from tfnlp.serving import memory


class Held:
    """Something large."""


def test_what_refers_to_itself_is_given_back_too():
    gc.disable()
    try:
        held = Held()
        held.itself, known = held, weakref.ref(held)
        del held
        assert known()
        memory.give_back()
        assert not known()
    finally:
        gc.enable()
