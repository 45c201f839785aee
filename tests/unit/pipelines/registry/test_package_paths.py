"""Where members of archives and the cache may lie."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.registry import packages
from pipelines.registry.packages import Package, cache_root

unsafe = st.sampled_from(["..", ".", "", "/etc", "a\\b", "C:", "\0"])
names = st.text(st.characters(exclude_characters="/\\:\0", exclude_categories=["Cs"]), min_size=1, max_size=20)  # fmt: skip  # noqa: E501
safe_names = names.filter(lambda name: name not in {".", ".."})


@given(st.lists(names | unsafe, min_size=1, max_size=5).map("/".join))
def test_no_path_leads_out(path):
    package = Package("p", "1", "0" * 64)
    try:
        packages._check_path(path, package)
    except UserError:
        return
    assert "\\" not in path
    pure = PurePosixPath(path)
    assert not pure.is_absolute()
    assert ".." not in pure.parts
    root = Path("/root/of/it")
    assert Path(os.path.normpath(root / path)).is_relative_to(root)
    assert os.path.normpath(root / path) != str(root)


@given(st.lists(safe_names, min_size=1, max_size=5).map("/".join))
def test_every_plain_path_is_allowed(path):
    packages._check_path(path, Package("p", "1", "0" * 64))
    packages._check_path(f"{path}/", Package("p", "1", "0" * 64))


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("TFNLP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "tfnlp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "tfnlp"
