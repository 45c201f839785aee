"""What a run was given beside its rows is what it resumes with."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.extensions import Source
from tfnlp.training.sources import digests
from tfnlp.training.trainer import Trainer


def rows(*texts):
    return Rows("more.txt", {"text": list(texts)}, list(range(len(texts))))


def trainer(folder, resume):
    one = SimpleNamespace(extended=SimpleNamespace(should_checkpoint=True))
    network = SimpleNamespace(distribute_strategy=one)
    return Trainer(SimpleNamespace(network=network), None, folder, resume)


def test_a_digest_tells_texts_and_what_belongs_to_them():
    said = np.ones([2, 3], np.float32)
    one = digests({"more": Source(rows("a", "b"), extras={"teacher": said})})
    assert one == digests({"more": Source(rows("a", "b"), extras={"teacher": said.copy()})})
    assert one != digests({"more": Source(rows("a", "c"), extras={"teacher": said})})
    assert one != digests({"more": Source(rows("a", "b"), extras={"teacher": said + 1e-6})})
    assert digests({"drawn": Source(lambda epoch: rows("a"))}) == {}


def test_a_fit_resumes_with_the_texts_it_began_with_alone(tmp_path):
    begun = {"more": Source(rows("a", "b"))}
    trainer(tmp_path, False)._check_sources(tmp_path, begun)
    trainer(tmp_path, True)._check_sources(tmp_path, begun)
    with pytest.raises(UserError, match=r"the rows of 'more'.* are not those"):
        trainer(tmp_path, True)._check_sources(tmp_path, {"more": Source(rows("a"))})
    trainer(tmp_path, False)._check_sources(tmp_path, {"more": Source(rows("a"))})  # anew


def test_an_array_is_made_once_in_a_run(tmp_path):
    made = []

    def make():
        made.append(len(made))
        return np.array([len(made)], np.float32)

    assert trainer(tmp_path, False).kept("teacher", make)[0] == 1
    assert trainer(tmp_path, True).kept("teacher", make)[0] == 1
    assert trainer(tmp_path, False).kept("teacher", make)[0] == 2  # another run
    (tmp_path / "teacher.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"teacher\.npy is damaged"):
        trainer(tmp_path, True).kept("teacher", make)
