"""Files of items: where they may lie, what is looked up, and what is added to answers."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rs_server.catalog import assets
from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.storage.checksums import Checker
from rs_server.storage.stac import ALTERNATE

NAME = CollectionName("alice", "s1")
ALLOWED = assets.Allowed(frozenset({"data", "l0"}), frozenset({"tiles.example.org"}))
CONTENT = b"content"
SHA256, OTHER = (f"1220{hashlib.sha256(content).hexdigest()}" for content in (CONTENT, b"other"))


class Memory:
    """A bucket in memory; it counts what it is asked."""

    def __init__(self, *keys: str) -> None:
        self.objects = dict.fromkeys(keys, CONTENT)
        self.asked: list[str] = []

    async def size(self, key: str) -> int | None:
        self.asked.append("size")
        return len(self.objects[key]) if key in self.objects else None

    async def keys(self, prefix: str, after: str = "") -> AsyncIterator[tuple[str, int]]:
        self.asked.append("keys")
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > after:
                yield key, len(self.objects[key])

    async def read(self, key: str) -> AsyncIterator[bytes]:
        self.asked.append("read")
        yield self.objects[key]


def item(*hrefs: str, told: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"id": "i1", "assets": {f"a{number}": {"href": href, **(told or {})} for number, href in enumerate(hrefs)}}


async def verified(document: dict[str, Any], bucket: Memory) -> None:
    found = list(assets.files(document, NAME, ALLOWED))
    await assets.verify(found, {"data": bucket, "l0": bucket})


@pytest.mark.parametrize(
    "href",
    [
        "s3://data/alice/s1/i1/a",
        "s3://l0/alice/s1/i1/run/a.zarr",
        "s3://data/alice/s1/i1/p.zarr/",
        "s3://data/alice/s1/i1/é",
    ],
)
def test_places_of_its_own(href: str) -> None:
    (file,) = assets.files(item(href), NAME, ALLOWED)
    assert file.place.key.startswith("alice/s1/i1/")


@pytest.mark.parametrize(
    "href",
    [
        "s3://other/alice/s1/i1/a",
        "s3://data/alice/s1/i10/a",
        "s3://data/alice/s1/i1",
        "s3://data/alice/s10/i1/a",
        "s3://data//alice/s1/i1/a",
        "s3://data/alice/s1/i1/../i2/a",
        "s3://data/alice/s1/i1//a",
        "s3://data/alice/s1/i1/a\u202e",
        "S3://data/bob/s1/i1/a",
        "https://data/alice/s1/i1/a",
        "//data/alice/s1/i1/a",
        "alice/s1/i1/a",
    ],
)
def test_places_of_others(href: str) -> None:
    with pytest.raises(BadInput, match=r"assets\.a0\.href"):
        list(assets.files(item(href), NAME, ALLOWED))


@pytest.mark.parametrize(
    ("href", "allowed"),
    [
        ("https://tiles.example.org/a.tif", True),
        ("http://tiles.example.org/a.tif", False),
        ("https://tiles.example.org:8443/a.tif", False),
        ("https://user@tiles.example.org/a.tif", False),
        ("https://tiles.example.org.evil/a.tif", False),
        ("https://tiles.example.org\\@evil/a.tif", False),
        ("https://[tiles.example.org/a.tif", False),
        ("//tiles.example.org/a.tif", False),
    ],
)
def test_links_to_the_hosts_of_the_settings(href: str, allowed: bool) -> None:
    if allowed:
        assert list(assets.files(item(href), NAME, ALLOWED)) == []
        assert assets.addresses(item(href)) == set()
        return
    with pytest.raises(BadInput, match=r"assets\.a0\.href"):
        list(assets.files(item(href), NAME, ALLOWED))


async def test_files_are_there_and_what_is_said() -> None:
    bucket = Memory("alice/s1/i1/a", "alice/s1/i1/p.zarr/0")
    await verified(item("s3://data/alice/s1/i1/a", told={"file:size": 7, "file:checksum": SHA256}), bucket)
    await verified(
        item("s3://data/alice/s1/i1/p.zarr", told={"file:size": 10**6}), bucket
    )  # many objects: no size to hold
    lies: list[tuple[dict[str, Any], str]] = [({"file:size": 8}, "7 are there"), ({"file:checksum": OTHER}, "checksum")]
    for told, said in lies:
        with pytest.raises(BadInput, match=said):
            await verified(item("s3://data/alice/s1/i1/a", told=told), bucket)
    with pytest.raises(BadInput, match="there is no object"):
        await verified(item("s3://data/alice/s1/i1/p"), bucket)


async def test_many_are_listed_not_asked_one_by_one() -> None:
    keys = [f"alice/s1/i1/{number:03}" for number in range(200)]
    bucket = Memory(*keys, "alice/s1/i1/z.zarr/0/0", "alice/s1/i2/a")
    await verified(item(*(f"s3://data/{key}" for key in keys), "s3://data/alice/s1/i1/z.zarr/"), bucket)
    assert bucket.asked == ["keys"]
    del bucket.objects[keys[77]]
    with pytest.raises(BadInput, match=r"assets\.a77\.href: there is no object"):
        await verified(item(*(f"s3://data/{key}" for key in keys)), bucket)


def test_the_second_address_is_made_and_taken_away() -> None:
    document = item("s3://data/alice/s1/i1/a") | {"stac_extensions": ["x"]}
    served = assets.served(item("s3://data/alice/s1/i1/a") | {"stac_extensions": ["x"]}, "https://r/", "alice_s1")
    assert served["assets"]["a0"]["alternate"]["https"]["href"].startswith("https://r/collections/alice_s1/items/i1/")
    assert len(served["stac_extensions"]) == 2
    assert assets.unserved(served) == document
    foreign = item("s3://x/y", told={"alternate": {"ftp": {"href": "ftp://x"}}}) | {"stac_extensions": [ALTERNATE]}
    assert assets.unserved(assets.served(foreign, "https://r/", "alice_s1"))["assets"]["a0"]["alternate"] == {
        "ftp": {"href": "ftp://x"}
    }


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256", "sha512", "sha3_256"])
def test_checksums(kind: str) -> None:
    codes = {"md5": "d50110", "sha1": "1114", "sha256": "1220", "sha512": "1340", "sha3_256": "1620"}
    digest = hashlib.new(kind, CONTENT, usedforsecurity=False).hexdigest()
    for text, met in ((digest, True), (digest[::-1], False)):
        checker = Checker(codes[kind] + text.upper())
        checker.update(CONTENT)
        assert checker.met == met
    for unknown in ("", "zz", None, 5, digest):
        with pytest.raises(ValueError, match="multihash"):
            Checker(f"99{unknown}" if isinstance(unknown, str) else unknown)
