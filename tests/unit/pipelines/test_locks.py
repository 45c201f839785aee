"""One process at a time; what others see is tested with a run (tests/unit/runs)."""

import pytest
from filelock import FileLock

from pipelines.errors import UserError
from pipelines.locks import held


def test_a_second_one_is_told_and_a_later_one_is_not(tmp_path):
    with (
        held(tmp_path, "taken"),
        pytest.raises(UserError, match=r"^taken$"),
        held(tmp_path, "taken"),
    ):
        raise AssertionError("both hold it")
    with held(tmp_path, "taken"):
        pass


def test_an_error_within_lets_go(tmp_path):
    with pytest.raises(OSError, match="full"), held(tmp_path, "taken"):
        raise OSError("full")
    FileLock(tmp_path / "lock").acquire(timeout=0)


@pytest.mark.parametrize("error", [OSError("no locks"), NotImplementedError()])
def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch, error):
    def refuse(self, timeout):
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with held(tmp_path, "taken"):
        done = True
    assert done
