"""Files that were changed after they were written are named."""

import pytest

from pipelines import checksums
from pipelines.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "words" / "deep").mkdir(parents=True)
    (tmp_path / "facts.json").write_text('{"temperature": 1.5}')
    (tmp_path / "words" / "deep" / "vocab.txt").write_text("a\nb\n")
    (tmp_path / "README.md").write_text("for people")
    checksums.write(tmp_path, ["facts.json", "words", "not there"])
    return tmp_path


def test_what_is_as_written_is_right_and_other_files_may_change(folder):
    (folder / "README.md").write_text("changed")
    (folder / "words" / "new.txt").write_text("new")
    checksums.check(folder)


@pytest.mark.parametrize("name", ["facts.json", "words/deep/vocab.txt"])
def test_one_that_changed_or_is_gone_is_named_with_the_remedy(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"1.5", b"0.5").replace(b"b", b""))
    with pytest.raises(UserError, match=rf"{name} is damaged: .* \(train again\)"):
        checksums.check(folder, "train again")
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is damaged: it is gone"):
        checksums.check(folder)
    (folder / name).write_bytes(content)
    checksums.check(folder)


def test_a_folder_of_a_version_without_checksums_is_taken_as_it_is(tmp_path):
    checksums.check(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_damaged_checksums_are_named(folder, content):
    (folder / checksums.FILE).write_text(content)
    with pytest.raises(UserError, match=r"checksums\.json is damaged"):
        checksums.check(folder)
