"""Notebooks in a home: fresh where untouched, left alone where edited."""

from pathlib import Path

import pytest

from rs_hub.notebooks import deliver


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for name, text in {
        "tutorials/a.ipynb": "a1",
        "chains/deep/b.ipynb": "b1",
        "chains/.ipynb_checkpoints/b.ipynb": "draft",
        "gallery/c.ipynb": "not delivered",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    return source


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "homes" / "alice"


def test_a_new_home_gets_everything(source: Path, home: Path) -> None:
    assert set(deliver(source, home)) == {Path("tutorials/a.ipynb"), Path("chains/deep/b.ipynb")}
    assert (home / "notebooks/chains/deep/b.ipynb").read_text() == "b1"
    assert not (home / "notebooks/gallery").exists()
    assert home.stat().st_mode & 0o077 == 0


def test_a_second_time_nothing_is_written(source: Path, home: Path) -> None:
    deliver(source, home)
    assert deliver(source, home) == []


def test_an_untouched_copy_follows_the_source(source: Path, home: Path) -> None:
    deliver(source, home)
    (source / "tutorials/a.ipynb").write_text("a2")
    assert deliver(source, home) == [Path("tutorials/a.ipynb")]
    assert (home / "notebooks/tutorials/a.ipynb").read_text() == "a2"


def test_an_edited_copy_stays(source: Path, home: Path) -> None:
    deliver(source, home)
    (home / "notebooks/tutorials/a.ipynb").write_text("hers")
    (source / "tutorials/a.ipynb").write_text("a2")
    assert deliver(source, home) == []
    assert (home / "notebooks/tutorials/a.ipynb").read_text() == "hers"


def test_a_deleted_copy_comes_back_fresh(source: Path, home: Path) -> None:
    deliver(source, home)
    (home / "notebooks/tutorials/a.ipynb").unlink()
    assert deliver(source, home) == [Path("tutorials/a.ipynb")]


@pytest.mark.parametrize("record", ["not json", "[]", "null"])
def test_a_damaged_record_overwrites_nothing(source: Path, home: Path, record: str) -> None:
    deliver(source, home)
    (home / ".local/share/rs-python/notebooks.json").write_text(record)
    (source / "tutorials/a.ipynb").write_text("a2")
    assert deliver(source, home) == []
    assert (home / "notebooks/tutorials/a.ipynb").read_text() == "a1"


def test_a_file_of_hers_under_our_name_stays(source: Path, home: Path) -> None:
    (home / "notebooks/tutorials").mkdir(parents=True)
    (home / "notebooks/tutorials/a.ipynb").write_text("hers")
    assert deliver(source, home) == [Path("chains/deep/b.ipynb")]
    assert (home / "notebooks/tutorials/a.ipynb").read_text() == "hers"


def test_without_notebooks_the_folder_is_there(tmp_path: Path, home: Path) -> None:
    assert deliver(tmp_path / "nowhere", home) == []
    assert (home / "notebooks").is_dir()
