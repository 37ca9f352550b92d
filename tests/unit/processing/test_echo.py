"""Echo samples out of a product are those that `sentinel1decoder` decodes from the packets that were sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sentinel1decoder import Level0Decoder, constants

from rs_client.processing import echo, stores
from rs_client.processing.channel import decode, in_memory
from rs_client.processing.echo import INPUT, OUTPUT, EchoSamples
from rs_client.processing.errors import BadPayload, NothingFound, ProcessingFailed
from rs_client.processing.payload import run_payload
from rs_client.processing.product import Session, assemble
from rs_client.processing.quicklook import Quicklook
from tests.unit.processing.downlink import VirtualChannel, cadus, packet
from tests.unit.processing.sar import BYPASS, FDBAQ, Line, lines, sar_packet

CYCLES = 12


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    generator = np.random.default_rng(3)
    return [sar_packet(n, line, generator) for n, line in enumerate(lines(CYCLES))]


def level_zero(packets: list[bytes]) -> xr.DataTree:
    writer = VirtualChannel(1)
    writer.write(packets)
    session = Session("S", "sentinel-1a", "sentinel-1", 56552)
    return assemble("L0", session, [decode(in_memory(1, cadus(writer.frames).reshape(-1)))])


@pytest.fixture(scope="module")
def product(packets: list[bytes]) -> xr.DataTree:
    return EchoSamples().run({INPUT: level_zero(packets)}, name="ECHO")[OUTPUT]


def oracle(packets: list[bytes], wanted: Line, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What the other decoder makes of the file of these packets that have a certain form."""
    monkeypatch.chdir(folder)  # it writes a log where it stands
    chosen = [one for one, line in zip(packets, lines(CYCLES), strict=True) if line == wanted]
    path = folder / "packets.dat"
    path.write_bytes(b"".join(chosen))
    decoder = Level0Decoder(str(path))
    headers = decoder.decode_metadata()
    assert set(headers[constants.NUM_QUADS_FIELD_NAME]) == {wanted.quads}
    return np.asarray(decoder.decode_packets(headers))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("take_0006E741/iw1_vv", Line(10, 0, FDBAQ, 300)),
        ("take_0006E741/iw1_vv", Line(10, 0, FDBAQ, 280)),
        ("take_0006E741/iw1_vh", Line(10, 1, FDBAQ, 300)),
        ("take_0006E741/iw2_vv", Line(11, 0, BYPASS, 200)),
        ("take_0006E741/iw2_vh", Line(11, 1, FDBAQ, 260)),
    ],
)
def test_samples_are_those_of_another_decoder(
    product: xr.DataTree,
    packets: list[bytes],
    path: str,
    line: Line,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = product[path].to_dataset()
    mine = group["samples"].values == 2 * line.quads
    samples = group["echo"].values[mine]
    expected = oracle(packets, line, tmp_path, monkeypatch)
    assert len(expected) == CYCLES
    assert np.array_equal(samples[:, : 2 * line.quads], expected)
    assert np.isnan(samples[:, 2 * line.quads :]).all()


def test_every_line_is_described(product: xr.DataTree) -> None:
    assert set(product["take_0006E741"].children) == {"iw1_vv", "iw1_vh", "iw2_vv", "iw2_vh"}
    group = product["take_0006E741/iw1_vv"].to_dataset()
    assert group["echo"].dtype == np.complex64
    assert group["echo"].shape == (2 * CYCLES, 600)
    assert group["packet"].values.tolist() == sorted([*range(0, 72, 6), *range(5, 72, 6)])  # the calibration left out
    assert group["pri_count"].values.tolist() == group["packet"].values.tolist()
    assert group["pri"].values[0] == pytest.approx(21_860 / 37.53472224e6)
    assert np.all(np.diff(group["time"].values.astype(np.int64)) > 0)
    assert product["take_0006E741/iw1_vv"].attrs == {"data_take_id": "06E741", "swath": "IW1", "polarisation": "VV"}
    properties = product.attrs["stac_discovery"]["properties"]
    assert properties["product:type"] == "S1_ECHO"
    assert properties["platform"] == "sentinel-1a"
    assert properties["sar:polarizations"] == ["VH", "VV"]


def test_chunks_change_nothing(packets: list[bytes], product: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "CHUNK", 8 * 600 * 5)
    again = EchoSamples().run({INPUT: level_zero(packets)}, name="ECHO")[OUTPUT]
    assert again["take_0006E741/iw1_vv"].to_dataset()["echo"].chunks == ((5, 5, 5, 5, 4), (600,))
    assert again.identical(product)


def test_one_data_take_of_several(packets: list[bytes]) -> None:
    generator = np.random.default_rng(4)
    other = [sar_packet(1000 + n, Line(10, 0, FDBAQ, 100, take=0x6E742), generator) for n in range(3)]
    both = level_zero([*packets, *other])
    chosen = EchoSamples().run({INPUT: both}, data_take="06e742")[OUTPUT]
    assert list(chosen.children) == ["take_0006E742"]
    with pytest.raises(BadPayload, match="no echoes of data take 1; its data takes: 06E741, 06E742"):
        EchoSamples().run({INPUT: both}, data_take="1")


def test_what_cannot_be_decoded_is_said() -> None:
    generator = np.random.default_rng(5)
    with pytest.raises(NothingFound, match="holds no echo"):
        EchoSamples().run({INPUT: level_zero([packet(5, 0, bytes(100))])})
    with pytest.raises(ProcessingFailed, match="BAQ mode 4 cannot be decoded yet"):
        EchoSamples().run({INPUT: level_zero([sar_packet(0, Line(10, 0, 4, 100), generator)])})
    with pytest.raises(ProcessingFailed, match="echoes cannot be decoded: Invalid BRC"):
        echo.decode([b"\xff" * 100], 300, FDBAQ)
    with pytest.raises(BadPayload):
        EchoSamples().run({INPUT: [xr.DataTree()]})


def test_from_store_to_store_and_its_quicklook(packets: list[bytes], product: xr.DataTree, tmp_path: Path) -> None:
    places = {name: (tmp_path / f"{name}.zarr").as_uri() for name in ("L0", "ECHO", "QL", "ACTIVITY")}
    stores.write(level_zero(packets), places["L0"], None)
    for processor, source, output in (
        ("s1-echo", "L0", "ECHO"),
        ("quicklook", "ECHO", "QL"),
        ("quicklook", "L0", "ACTIVITY"),
    ):
        payload = {
            "processor": processor,
            "inputs": [{"href": places[source]}],
            "output": places[output],
            "session": {"id": source},
            "parameters": {"size": 16} if processor == "quicklook" else {},
        }
        assert run_payload(payload)["stac_discovery"]["id"] == output
    path = "take_0006E741/iw1_vh"
    samples = product[path].to_dataset()["echo"].values
    stored = xr.open_datatree(tmp_path / "ECHO.zarr", engine="zarr")[path].to_dataset()["echo"].values
    assert np.array_equal(stored, samples)
    image = xr.open_datatree(tmp_path / "QL.zarr", engine="zarr")[path].to_dataset()["echo"]
    assert image.shape == (12, 16)
    power = (np.abs(np.pad(samples, ((0, 0), (0, 8)), constant_values=np.nan)) ** 2).reshape(12, 16, -1)
    np.testing.assert_allclose(image.values, 10 * np.log10(np.nanmean(power, axis=2)), rtol=1e-4)
    activity = xr.open_datatree(tmp_path / "ACTIVITY.zarr", engine="zarr")["apid_1052"].to_dataset()
    assert activity["packets"].values.sum() == len(packets)
    assert activity["octets"].values.sum() == sum(map(len, packets))


def test_any_image_has_a_quicklook() -> None:
    image = xr.Dataset({"radiance": (("y", "x"), np.arange(200.0).reshape(10, 20)), "line": ("y", np.arange(10))})
    tree = xr.DataTree.from_dict({"measurements": image})
    made = Quicklook().run({"product": tree}, size=10)["quicklook"]["measurements"].to_dataset()
    assert set(made.data_vars) == {"radiance"}
    assert made["radiance"].shape == (10, 10)
    assert made["radiance"].values[0, :3].tolist() == [0.5, 2.5, 4.5]
    with pytest.raises(NothingFound, match="nothing that a quicklook could show"):
        Quicklook().run({"product": xr.DataTree.from_dict({"a": image[["line"]]})})
