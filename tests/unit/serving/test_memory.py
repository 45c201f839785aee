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


def test_what_is_there_is_left_out_of_collections():
    gc.unfreeze()
    memory.settle()
    try:
        assert gc.get_freeze_count() > 10_000  # modules; they were in each collection
        assert len(gc.get_objects()) < 10_000
        held = Held()
        held.itself, known = held, weakref.ref(held)
        del held
        memory.give_back()
        assert not known()
    finally:
        gc.unfreeze()
