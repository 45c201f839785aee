"""Files of our own that are damaged are named in one sentence with the remedy."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.json_files import read_json


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"labels": ["a"', "it is not JSON"),
        (b"\xff\xfe\x00\x81", "it is not text in UTF-8"),
        (b"[]", "it does not hold an object"),
        (b"null", "it does not hold an object"),
        (b'"x"', "it does not hold an object"),
        (b"NaN", "NaN in it is not a number of JSON"),
        (b"{}", "it has no 'labels'"),
        (b'{"labels": 3}', "its 'labels' is 3"),
        (b'{"labels": ["a"], "steps": true}', "its 'steps' is true"),
        (b'{"labels": ["a"], "steps": -Infinity}', "-Infinity in it is not a number of JSON"),
        (b"[" * 100_000, "it is not JSON"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, why):
    file = tmp_path / "facts.json"
    file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_json(file, {"labels": list, "steps": int}, remedy="train again")
    assert str(refused.value) == f"{file} is damaged: {why} (train again)"


def test_whole_files_are_read(tmp_path):
    file = tmp_path / "facts.json"
    file.write_text('{"labels": ["好"], "steps": 3, "more": null}', "utf-8")
    assert read_json(file, {"labels": list, "steps": int})["labels"] == ["好"]
    file.write_text('{"best": NaN}')
    assert read_json(file, constants=True)["best"] != 0
    with pytest.raises(UserError, match=r"there is no file .*b\.json \(train again\)"):
        read_json(tmp_path / "b.json", remedy="train again")
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path)
