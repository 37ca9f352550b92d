"""`rs process --local`: a folder in, a product out, and sentences where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from rs_client.processing import folder
from rs_client.processing.command import commands
from rs_client.processing.errors import InputUnreadable
from tests.unit.processing.session import SAR, Small, small

SESSION = "S1A_20241114143038056552"


@pytest.fixture(scope="module")
def sent() -> Small:
    return small()


def fill(where: Path, sent: Small, session: str = SESSION) -> Path:
    """Write a session as stations name its files, one folder a channel."""
    for (channel, block), octets in sent.files().items():
        place = where / f"ch_{channel}"
        place.mkdir(parents=True, exist_ok=True)
        octets.tofile(place / f"DCS_04_{session}_ch{channel}_DSDB_{block:05d}.raw")
    return where


def rs(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(commands, [str(one) for one in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_folder_becomes_a_product(sent: Small, tmp_path: Path) -> None:
    source, output = fill(tmp_path / "in", sent), tmp_path / "out" / "NAME.zarr"
    told = [{"Channel": n, "TotalChunks": 3, "TotalVolume": sent.channels[n].size} for n in (1, 2)]
    (source / "S_QualityInfo.json").write_text(json.dumps({"value": told}))
    code, out, err = rs("--local", "s1-l0", "--input", source, "--output", output, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["href"] == output.as_uri()
    assert answer["quality"]["station"]["agrees"] is True
    properties = answer["stac_discovery"]["properties"]
    assert (properties["platform"], properties["sat:absolute_orbit"]) == ("sentinel-1a", 56552)
    assert xr.open_datatree(output, engine="zarr")[f"apid_{SAR}"].sizes["packet"] == 60
    assert [path.name for path in output.parent.iterdir()] == ["NAME.zarr"]


def test_what_was_found_is_told_in_words(sent: Small, tmp_path: Path) -> None:
    source = fill(tmp_path / "in", sent)
    quality = tmp_path / "told.json"
    quality.write_text(json.dumps([{"Channel": 1, "TotalChunks": 4}, {"Channel": 2}]))
    code, out, _ = rs("--local", "s1-l0", "--input", source, "--output", tmp_path / "A.zarr", "--quality", quality)
    assert code == 0
    assert "0 bad" in out
    assert "apid_1052: 60 packets" in out
    assert "channel 1 files: 4 there, 3 here" in out


def test_parameters_are_passed_on(sent: Small, tmp_path: Path) -> None:
    source = fill(tmp_path / "in", sent)
    code, _, err = rs(
        "--local", "s1-l0", "--input", source, "--output", tmp_path / "A.zarr", "-p", "randomised=true"
    )  # fmt: skip
    assert code == 2
    assert "are no AOS frames with the parameter randomised true; try the other" in err
    assert not (tmp_path / "A.zarr").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_output_that_is_there_stays(sent: Small, tmp_path: Path) -> None:
    (tmp_path / "A.zarr").mkdir()
    source = fill(tmp_path / "in", sent)
    code, _, err = rs("--local", "s1-l0", "--input", source, "--output", tmp_path / "A.zarr")
    assert code == 1
    assert "it is there already" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--local", "s1-l0", "--input", ".", "--output", "A.zarr"], 1, "holds no file of a downlink session"),
        (["--local", "s1-l0", "--output", "A.zarr"], 2, "needs --input and --output"),
        (["--local", "s1-l0", "--input", ".", "--output", "A.zarr", "-p", "basis"], 2, "NAME=VALUE"),
        (["s1-l0"], 2, "or give --local"),
        (["s1-l0", "--input", ".", "--output", "A.zarr"], 2, "go with --local"),
        (["s1-l0", "c/i", "--workers", "2"], 2, "go with --local"),
        (["--local", "s1-l0", "--input", ".", "--output", "A.zarr", "--plan"], 2, "no items, --to or --plan"),
        (["--local", "s1-l0", "c/i", "--input", ".", "--output", "A.zarr"], 2, "no items, --to or --plan"),
    ],
)
def test_wrong_orders_are_sentences(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, err = rs(*arguments)
    assert found == code
    assert said in " ".join(err.replace("│", " ").split())


def test_an_unknown_processor_is_told_with_those_there_are(sent: Small, tmp_path: Path) -> None:
    source = fill(tmp_path / "in", sent)
    code, _, err = rs("--local", "s1-l9", "--input", source, "--output", tmp_path / "A.zarr")
    assert code == 2
    assert "there is no processor s1-l9; there are: quicklook, s1-echo, s1-l0, safe-to-zarr" in err


def test_a_folder_holds_one_session(sent: Small, tmp_path: Path) -> None:
    with pytest.raises(InputUnreadable, match="holds no file"):
        folder.read(tmp_path)
    source = fill(tmp_path / "in", sent)
    assert [(file.channel, file.block) for file in folder.read(source).files] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3),
    ]  # fmt: skip
    again = source / "again"
    again.mkdir()
    name = f"DCS_04_{SESSION}_ch1_DSDB_00001.raw"
    (again / name).write_bytes(b"")
    with pytest.raises(InputUnreadable, match="the same file of the session"):
        folder.read(source)
    (again / name).rename(again / "DCS_04_S1A_20241114163038056553_ch1_DSDB_00001.raw")
    with pytest.raises(InputUnreadable, match="several sessions: S1A_20241114143038056552, S1A_20241114163038056553"):
        folder.read(source)


@pytest.mark.parametrize("text", ["{", "[1]", '{"Files": []}'])
def test_what_is_no_quality_is_refused(sent: Small, tmp_path: Path, text: str) -> None:
    source = fill(tmp_path / "in", sent)
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(InputUnreadable, match=r"q\.json"):
        folder.read(source, tmp_path / "q.json")


def test_sessions_of_unknown_names_are_taken_as_they_are(sent: Small, tmp_path: Path) -> None:
    source = fill(tmp_path / "in", sent, "L20191003131732787001008")
    assert folder.read(source).facts() == {"id": "L20191003131732787001008", "quality": []}
