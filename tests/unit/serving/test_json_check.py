"""What JSON would become, read off its bytes: counts against the parser's, limits, any cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfnlp.serving import json_check
from tfnlp.serving.failures import RequestError
from tfnlp.serving.json_check import JsonCheck

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def counted(value):
    """Return commas, lists, objects and strings of a value."""
    if isinstance(value, str):
        return 1
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(counted, value))
    if isinstance(value, dict):
        inner = sum(counted(v) for v in value.values())
        return 1 + max(len(value) - 1, 0) + len(value) + inner
    return 0


@given(JSON, st.integers(1, 9), st.booleans())
def test_it_counts_what_the_parser_finds_wherever_the_bytes_are_cut(value, size, ascii_only):
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    check = JsonCheck(10**6)
    for start in range(0, len(data), size):
        check.feed(data[start : start + size])
    assert check.values == counted(value) + _escapes(value, ascii_only)


def _escapes(value, ascii_only):
    """Return the escapes, of which a backslash itself is one."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    count = place = 0
    while (place := text.find("\\", place)) >= 0:
        count, place = count + 1, place + 2
    return count


def refused(data, rows=100):
    with pytest.raises(RequestError) as error:
        JsonCheck(rows).feed(data)
    return error.value


def test_rows_are_counted_before_they_are_parsed():
    def row(n):
        return b'{"instances": [' + b",".join([b'"a,[b"'] * n) + b"]}"

    JsonCheck(100).feed(row(100))
    assert refused(row(101)).http == 413
    assert "--max-rows" in refused(row(101)).message


def test_too_many_values_and_too_deep_lists(monkeypatch):
    monkeypatch.setattr(json_check, "MOST_VALUES", 1000)
    assert refused(b'{"a": [[' + b"[]," * 1000).http == 413
    assert refused(b'"' + b"\\n" * 1001).http == 413
    assert refused(b"[" * (json_check.DEEPEST + 1)).http == 400
    JsonCheck(100).feed(b"[" * json_check.DEEPEST)
    assert "characters" in refused(b"1" * 5000).message
    JsonCheck(100).feed(b'"' + b"1" * 5000)


def test_a_number_is_not_too_long_for_the_lock_however_it_is_cut():
    check = JsonCheck(10**6)
    for _ in range(10):
        check.feed(b"[" + b"1" * 400 + b", 2")
    for _ in range(5):
        check.feed(b"1" * 100)
    with pytest.raises(RequestError, match="characters"):
        check.feed(b"1" * 100)
