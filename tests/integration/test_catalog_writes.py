"""Items and their files, on a real database and a real object storage: what may be written, what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from uuid import uuid4

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from rs_server.catalog.expiry import Expiry
from rs_server.catalog.removal import Removal
from rs_server.database import open_database
from rs_server.storage.buckets import open_storage
from tests.conftest import Platform
from tests.integration.callers import SHOW, Callers, calling, collection, item
from tests.integration.jobs import s3, settings
from tests.schemas import ROOT, item_faults

RUN = uuid4().hex[:8]
ALICE, BOB, CAROL = f"alice{RUN}", f"bob{RUN}", f"carol{RUN}"
OWN, PRIVATE, SHORT = f"{ALICE}_s1", f"{BOB}_s1", f"{ALICE}_short"
DAYS = 3
BUCKET = "rs-data"
READER, DOWNLOADER, WRITER = (f"rs_catalog_{ALICE}:s1_{right}" for right in ("read", "download", "write"))
ITEMS = f"/catalog/collections/{OWN}/items"
CONTENT = b"content of a file"
MD5 = f"d50110{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"1220{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Iterator[Callers]:
    lifecycle = [{"owner": ALICE, "collection": "short", "days": DAYS}, {"product_type": "S01", "days": 7}]
    rules = {"lifecycle": lifecycle, "schemas": str(ROOT), "provider": "The platform"}
    with calling(platform, catalog=rules) as callers:
        for full in (OWN, PRIVATE, SHORT):
            made = callers.ask(full.partition("_")[0], "POST", "/catalog/collections", json=collection(full))
            assert made.status_code == 201, made.text
        yield callers
        for full in (OWN, PRIVATE, SHORT):
            callers.ask(full.partition("_")[0], "DELETE", f"/catalog/collections/{full}?force=true")


@pytest.fixture(scope="module")
def bucket(platform: Platform) -> Any:
    return s3(platform)


def some_id() -> str:
    return f"I{uuid4().hex[:12]}"


def key(item_id: str, name: str = "a.bin", full: str = OWN) -> str:
    return f"{full.replace('_', '/', 1)}/{item_id}/{name}"


def asset(item_id: str, name: str = "a.bin", full: str = OWN, **told: Any) -> dict[str, Any]:
    return {"href": f"s3://{BUCKET}/{key(item_id, name, full)}", **told}


def put(bucket: Any, *keys: str) -> None:
    for each in keys:
        bucket.put_object(Bucket=BUCKET, Key=each, Body=CONTENT)


def there(bucket: Any, prefix: str) -> list[str]:
    return sorted(entry["Key"] for entry in bucket.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []))


def made(callers: Callers, document: dict[str, Any], who: str = ALICE) -> httpx.Response:
    answer = callers.ask(who, "POST", f"/catalog/collections/{document['collection']}/items", json=document)
    assert answer.status_code == 201, answer.text
    return answer


RING = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
BOWTIE = [[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]

# changes to a good item · the field that the refusal names
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": "a/b"}, "id"),
    ({"id": "a b"}, "id"),
    ({"id": ".."}, "id"),
    ({"id": "аlpha"}, "id"),  # Cyrillic
    ({"id": "x" * 300}, "id"),
    ({"bbox": [0, 0, 2]}, "bbox"),
    ({"bbox": [0, 5, 2, 2]}, "bbox"),
    ({"bbox": [0, 0, 200, 2]}, "bbox"),
    ({"geometry": {"type": "Polygon", "coordinates": [[*RING[:-1], [1, 1]]]}}, "geometry"),
    ({"geometry": {"type": "Polygon", "coordinates": [BOWTIE]}}, "geometry"),
    ({"geometry": {"type": "Point", "coordinates": [181, 0]}}, "geometry.coordinates"),
    ({"geometry": {"type": "Blob", "coordinates": [1, 0]}}, "geometry"),
    ({"properties": {"datetime": "yesterday"}}, "datetime"),
    ({"properties": {"datetime": None, "start_datetime": "2024-01-01T00:00:00Z"}}, "datetime"),
    (
        {
            "properties": {
                "datetime": None,
                "start_datetime": "2024-01-02T00:00:00Z",
                "end_datetime": "2024-01-01T00:00:00Z",
            }
        },
        "datetime",
    ),
    ({"assets": {"a": {}}}, "href"),
    ({"assets": {"../a": {"href": "s3://rs-data/x"}}}, "assets"),
    ({"links": [{"rel": "via"}]}, "links"),
]


@pytest.mark.parametrize("bulk", [False, True], ids=["one", "bulk"])
@pytest.mark.parametrize(("changes", "field"), WRONG, ids=[json.dumps(changes)[:50] for changes, _ in WRONG])
def test_what_is_no_item_is_refused_by_field(callers: Callers, changes: dict[str, Any], field: str, bulk: bool) -> None:
    document = item(some_id(), OWN, **changes)
    if bulk:
        body = {"items": {"good": item("good", OWN), document["id"]: document}}
        answer = callers.ask(ALICE, "POST", f"/catalog/collections/{OWN}/bulk_items", json=body)
    else:
        answer = callers.ask(ALICE, "POST", ITEMS, json=document)
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["detail"]
    assert callers.ask(ALICE, "GET", f"{ITEMS}/good").status_code == 404


# where an asset of alice's item lies · refused
HREFS = [
    "file:///etc/passwd",
    "http://127.0.0.1:9000/rs-data/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://2130706433/",
    "http://[::ffff:127.0.0.1]/",
    "https://user:pass@example.org/x",
    "gopher://127.0.0.1:25/",
    "data:text/plain,x",
    "s3://other-bucket/{own}a.bin",
    "s3://user@rs-data/{own}a.bin",
    "s3://rs-data:80/{own}a.bin",
    "s3://rs-data/" + key("I1", full=PRIVATE),
    "s3://rs-data/" + key("another-item"),
    "s3://rs-data/{own}../../../../" + key("I1", full=PRIVATE),
    "s3://rs-data/{own}./a.bin",
    "s3://rs-data/{own}/a.bin",
    "s3://rs-data/{own}a.bin?versionId=1",
    "s3://rs-data/{own}a.bin#x",
    "s3://rs-data/{own}a\\b",
    "s3://rs-data/{own}%2e%2e/%2e%2e/x",
    "s3://rs-data/{own}a\x00b",
    "s3://rs-data/{own}" + "x" * 2000,
    "s3://rs-data/{own}not-there.bin",
    "s3://rs-data/",
    "s3://[",
    "a.bin",
]


@pytest.mark.parametrize("href", HREFS, ids=[href[:40].replace("\x00", "NUL") for href in HREFS])
def test_files_lie_at_their_items_own_place(callers: Callers, bucket: Any, href: str) -> None:
    item_id = some_id()
    put(bucket, key("I1", full=PRIVATE), key("another-item"))
    document = item(item_id, OWN, assets={"a": {"href": href.replace("{own}", key(item_id, ""))}})
    for method, path, body in (
        ("POST", ITEMS, document),
        ("POST", f"/catalog/collections/{OWN}/bulk_items", {"items": {item_id: document}}),
    ):
        answer = callers.ask(ALICE, method, path, json=body)
        assert answer.status_code == 400, answer.text
        assert "assets.a" in answer.json()["detail"]
    assert callers.ask(ALICE, "GET", f"{ITEMS}/{item_id}").status_code == 404


# D2: what assets are called, and which of the two files (a.bin, b.bin) each names
ASSETS: dict[str, dict[str, str]] = {
    "a step up": {"../../x": "a.bin"},
    "a path": {"/etc/passwd": "a.bin"},
    "a backslash": {"a\\b": "a.bin"},
    "NUL": {"a\x00b": "a.bin"},
    "2 KB": {"x" * 2048: "a.bin"},
    "nothing": {"": "a.bin"},
    "two of one file": {"a": "a.bin", "b": "a.bin"},
    "one good, two of one file": {"a": "b.bin", "b": "a.bin", "c": "a.bin"},
}


@pytest.mark.parametrize("case", ASSETS)
def test_names_and_files_of_assets_are_their_own(callers: Callers, bucket: Any, case: str) -> None:
    item_id = some_id()
    put(bucket, key(item_id), key(item_id, "b.bin"))
    document = item(item_id, OWN, assets={name: asset(item_id, file) for name, file in ASSETS[case].items()})
    answer = callers.ask(ALICE, "POST", ITEMS, json=document)
    assert answer.status_code == 400, answer.text
    assert "assets" in answer.json()["detail"]
    assert callers.ask(ALICE, "GET", f"{ITEMS}/{item_id}").status_code == 404
    assert there(bucket, key(item_id, "")) == [key(item_id), key(item_id, "b.bin")]


# what is said of a file · whether it is taken
TOLD: list[tuple[dict[str, Any], int]] = [
    ({}, 201),
    ({"file:size": len(CONTENT)}, 201),
    ({"file:size": len(CONTENT) + 1}, 400),
    ({"file:size": "many"}, 400),
    ({"file:checksum": MD5}, 201),
    ({"file:checksum": SHA256, "file:size": len(CONTENT)}, 201),
    ({"file:checksum": SHA256[:-1] + "x"}, 400),
    ({"file:checksum": "none"}, 400),
]


@pytest.mark.parametrize(("told", "status"), TOLD, ids=[json.dumps(told)[:40] for told, _ in TOLD])
def test_files_are_what_is_said_of_them(callers: Callers, bucket: Any, told: dict[str, Any], status: int) -> None:
    item_id = some_id()
    put(bucket, key(item_id))
    answer = callers.ask(ALICE, "POST", ITEMS, json=item(item_id, OWN, assets={"a": asset(item_id, **told)}))
    assert answer.status_code == status, answer.text


def test_many_files_are_looked_up_by_listing(callers: Callers, bucket: Any) -> None:
    ids = [some_id() for _ in range(70)]
    put(bucket, *(key(item_id) for item_id in ids), key(ids[0], "z.zarr/c/0"), key(ids[-1], "z.zarr/c/0"))
    items = {each: item(each, OWN, assets={"a": asset(each) | {"file:size": len(CONTENT)}}) for each in ids}
    for each in (ids[0], ids[-1]):
        items[each]["assets"]["z"] = asset(each, "z.zarr")
    bulk = f"/catalog/collections/{OWN}/bulk_items"
    lacking = {**items, "odd": item("odd", OWN, assets={"a": asset("odd")})}
    assert callers.ask(ALICE, "POST", bulk, json={"items": lacking}).status_code == 400
    assert callers.ask(ALICE, "GET", f"{ITEMS}/{ids[0]}").status_code == 404
    answer = callers.ask(ALICE, "POST", bulk, json={"items": items})
    assert (answer.status_code, answer.json()["success"]) == (200, 70), answer.text


def test_the_served_item_is_valid_and_may_be_sent_back(callers: Callers, bucket: Any) -> None:
    item_id = some_id()
    put(bucket, key(item_id))
    first = made(callers, item(item_id, OWN, assets={"a": asset(item_id)}))
    served = first.json()
    assert item_faults(served) == []
    assert served["assets"]["a"]["alternate"]["https"]["href"] == f"{callers.url}{ITEMS}/{item_id}/download/a"
    assert first.headers["location"] == f"{callers.url}{ITEMS}/{item_id}"
    again = callers.ask(ALICE, "PUT", f"{ITEMS}/{item_id}", json=served, headers=SHOW)
    assert (again.status_code, again.headers["preference-applied"]) == (200, SHOW["Prefer"]), again.text
    told, kept = again.json(), ("assets", "geometry", "bbox", "id", "collection", "stac_extensions")
    assert {name: told[name] for name in kept} == {name: served[name] for name in kept}
    (stored,) = callers.rows("SELECT content->'assets'->'a' FROM pgstac.items WHERE id = %s", item_id)[0]
    assert stored == asset(item_id)  # what is made for answers is not stored


class TestVersions:
    """Concurrent edits: If-Match names the version that a change was made to."""

    def test_the_tag_changes_with_each_write(self, callers: Callers) -> None:
        item_id = some_id()
        path = f"{ITEMS}/{item_id}"
        tags = [made(callers, item(item_id, OWN)).headers["etag"]]
        tags.append(callers.ask(ALICE, "PATCH", path, json={"properties": {"n": 1}}).headers["etag"])
        assert callers.ask(ALICE, "GET", path).headers["etag"] == tags[1] != tags[0]
        for method, body in (("PUT", item(item_id, OWN)), ("PATCH", {"properties": {"n": 2}}), ("DELETE", None)):
            answer = callers.ask(ALICE, method, path, json=body, headers={"If-Match": tags[0]})
            assert answer.status_code == 412, answer.text
        assert callers.ask(ALICE, "GET", path).json()["properties"]["n"] == 1
        answer = callers.ask(ALICE, "PUT", path, json=item(item_id, OWN), headers={"If-Match": tags[1]})
        assert (answer.status_code, answer.content) == (204, b""), answer.text
        assert answer.headers["etag"] == callers.ask(ALICE, "GET", path).headers["etag"]
        assert callers.ask(ALICE, "DELETE", path, headers={"If-Match": "*"}).status_code == 204
        assert callers.ask(ALICE, "DELETE", path).status_code == 404

    def test_fifty_at_once_are_told_apart(self, callers: Callers) -> None:
        """With If-Match one wins; without, every change is made, one after the other."""
        item_id = some_id()
        path = f"{ITEMS}/{item_id}"
        tag = made(callers, item(item_id, OWN)).headers["etag"]

        def patch(number: int, **headers: str) -> int:
            for _ in range(20):
                answer = callers.ask(ALICE, "PATCH", path, json={"properties": {f"n{number}": 1}}, headers=headers)
                if answer.status_code != 503:
                    break
                time.sleep(0.2)
            return answer.status_code

        with ThreadPoolExecutor(50) as pool:
            won = list(pool.map(lambda number: patch(number, **{"If-Match": tag}), range(50)))
            assert sorted(won) == [204] + [412] * 49
            assert set(pool.map(patch, range(100, 150))) == {204}
        properties = callers.ask(ALICE, "GET", path).json()["properties"]
        assert {f"n{number}" for number in range(100, 150)} <= set(properties)
        assert sum(name in properties for name in (f"n{number}" for number in range(50))) == 1

    def test_delete_and_replace_at_once_leave_no_file(self, callers: Callers, bucket: Any) -> None:
        item_id = some_id()
        put(bucket, key(item_id))
        document = item(item_id, OWN, assets={"a": asset(item_id)})
        made(callers, document)
        methods = ["PUT", "DELETE"] * 10

        def change(method: str) -> int:
            body = document if method == "PUT" else None
            return callers.ask(ALICE, method, f"{ITEMS}/{item_id}", json=body).status_code

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(change, methods))
        assert set(answers) <= {204, 404}
        assert [code for method, code in zip(methods, answers, strict=True) if method == "DELETE"].count(204) == 1
        assert callers.ask(ALICE, "GET", f"{ITEMS}/{item_id}").status_code == 404
        assert there(bucket, key(item_id, "")) == []


class TestDeletion:
    """Files go after their item, and nothing else goes."""

    def test_what_an_item_names_no_more_goes(self, callers: Callers, bucket: Any) -> None:
        item_id = some_id()
        put(bucket, key(item_id), key(item_id, "b.bin"), key(item_id, "c.zarr/0"), key(item_id, "c.zarr/1"))
        document = item(
            item_id,
            OWN,
            assets={"a": asset(item_id), "b": asset(item_id, "b.bin"), "c": asset(item_id, "c.zarr")},
        )
        made(callers, document)
        answer = callers.ask(ALICE, "PATCH", f"{ITEMS}/{item_id}", json={"assets": {"b": None}})
        assert answer.status_code == 204, answer.text
        assert there(bucket, key(item_id, "")) == [key(item_id), key(item_id, "c.zarr/0"), key(item_id, "c.zarr/1")]
        assert callers.ask(ALICE, "DELETE", f"{ITEMS}/{item_id}").status_code == 204
        assert there(bucket, key(item_id, "")) == []

    def test_a_forced_collection_goes_with_its_files(self, callers: Callers, bucket: Any) -> None:
        full, item_id = f"{ALICE}_doomed", some_id()
        assert callers.ask(ALICE, "POST", "/catalog/collections", json=collection(full)).status_code == 201
        put(bucket, key(item_id, full=full), f"{ALICE}/doomed-not/{item_id}/a")
        made(callers, item(item_id, full, assets={"a": asset(item_id, full=full)}))
        refused = callers.ask(ALICE, "DELETE", f"/catalog/collections/{full}")
        assert (refused.status_code, "force" in refused.text) == (409, True)
        assert callers.ask(ALICE, "DELETE", f"/catalog/collections/{full}?force=true").status_code == 200
        assert there(bucket, f"{ALICE}/doomed") == [f"{ALICE}/doomed-not/{item_id}/a"]

    def test_what_could_not_be_deleted_is_swept_later(self, platform: Platform, callers: Callers, bucket: Any) -> None:
        """While the storage is away items are deleted all the same; a file put back meanwhile stays."""
        gone, again = some_id(), some_id()
        put(bucket, key(gone), key(again))
        for each in (gone, again):
            made(callers, item(each, OWN, assets={"a": asset(each)}))
        away = {**settings(platform).model_dump(mode="json")["storage"], "endpoint": "http://127.0.0.1:9"}
        away["secret_key"] = settings(platform).storage.secret_key.get_secret_value()
        with calling(platform, storage=away) as cut_off:
            token = {"Authorization": f"Bearer {cut_off.issuer.token(ALICE)}"}
            for each in (gone, again):
                answer = cut_off.http.delete(f"{ITEMS}/{each}", headers=token)
                assert answer.status_code == 204, answer.text
        assert there(bucket, key(gone, "")) == [key(gone)]
        time.sleep(1.1)  # the storage tells times of files to the second
        put(bucket, key(again))
        made(callers, item(again, OWN, assets={"a": asset(again)}))
        callers.rows("UPDATE rs.doomed_files SET due = now() WHERE item = ANY (%s) RETURNING 1", [gone, again])
        asyncio.run(_swept(platform))
        assert there(bucket, key(gone, "")) == []
        assert there(bucket, key(again, "")) == [key(again)]
        assert callers.rows("SELECT 1 FROM rs.doomed_files WHERE item = ANY (%s)", [gone, again]) == []


async def _swept(platform: Platform, *, withdrawing: bool = False) -> int:
    values = settings(platform)
    async with open_database(values.database) as database, open_storage(values.storage) as storage:
        done = await Expiry(database).run() if withdrawing else 0
        while await Removal(database, storage).sweep():
            pass
        return done


class TestLife:
    """created ▶ published ▶ updated ▶ expires ▶ unpublished ▶ published again."""

    def test_times(self, callers: Callers) -> None:
        before = datetime.now(UTC)
        item_id = some_id()
        lies = {
            "published": "1999-01-01T00:00:00Z",
            "unpublished": "1999-01-01T00:00:00Z",
            "updated": "1999-01-01T00:00:00Z",
        }
        properties = {"datetime": "2024-01-01T00:00:00Z", "created": "2024-02-02T00:00:00Z", **lies}
        first = made(callers, item(item_id, SHORT, properties=properties)).json()["properties"]
        assert first["created"] == first["eopf:origin_datetime"] == "2024-02-02T00:00:00Z"
        assert "unpublished" not in first
        published, expires = _moment(first["published"]), _moment(first["expires"])
        assert before - timedelta(seconds=1) <= published == _moment(first["updated"])
        assert expires - published == timedelta(days=DAYS)
        path = f"/catalog/collections/{SHORT}/items/{item_id}"
        second = callers.ask(ALICE, "PUT", path, json=item(item_id, SHORT), headers=SHOW).json()["properties"]
        assert {name: second[name] for name in ("published", "expires", "created")} == {
            name: first[name] for name in ("published", "expires", "created")
        }
        assert _moment(second["updated"]) > published
        sooner = (published + timedelta(days=1)).isoformat()
        for asked, kept in ((sooner, timedelta(days=1)), ("2999-01-01T00:00:00Z", timedelta(days=1))):
            told = callers.ask(ALICE, "PATCH", path, json={"properties": {"expires": asked}}, headers=SHOW).json()[
                "properties"
            ]
            assert _moment(told["expires"]) - published == kept

    def test_the_rule_of_the_product_type(self, callers: Callers) -> None:
        properties = {"datetime": "2024-01-01T00:00:00Z", "product:type": "S01"}
        told = made(callers, item(some_id(), OWN, properties=properties)).json()["properties"]
        assert _moment(told["expires"]) - _moment(told["published"]) == timedelta(days=7)
        assert "expires" not in made(callers, item(some_id(), OWN)).json()["properties"]

    def test_what_expires_is_withdrawn_and_comes_back(self, platform: Platform, callers: Callers, bucket: Any) -> None:
        ids = [some_id() for _ in range(3)]
        put(bucket, *(key(each, full=SHORT) for each in ids))
        documents = [item(each, SHORT, assets={"a": asset(each, full=SHORT)}) for each in ids]
        for document in documents:
            made(callers, document)
        past = '"2020-01-01T00:00:00Z"'
        callers.rows(
            "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,expires}', %s) "
            "WHERE id = ANY (%s) RETURNING 1",
            past,
            ids[:2],
        )
        assert asyncio.run(_swept(platform, withdrawing=True)) >= 2
        assert asyncio.run(_swept(platform, withdrawing=True)) == 0
        for number, each in enumerate(ids):
            told = callers.ask(ALICE, "GET", f"/catalog/collections/{SHORT}/items/{each}").json()
            gone = number < 2
            assert ("unpublished" in told["properties"], told["assets"] == {}) == (gone, gone)
            assert there(bucket, key(each, "", full=SHORT)) == ([] if gone else [key(each, full=SHORT)])
        put(bucket, key(ids[0], full=SHORT))
        back = callers.ask(
            ALICE, "PUT", f"/catalog/collections/{SHORT}/items/{ids[0]}", json=documents[0], headers=SHOW
        )
        assert back.status_code == 200, back.text
        properties = back.json()["properties"]
        assert "unpublished" not in properties
        assert _moment(properties["expires"]) > datetime.now(UTC) + timedelta(days=DAYS - 1)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class TestDownload:
    """A presigned address opens one file, by GET, for a quarter of an hour."""

    @pytest.fixture(name="address")
    def presigned(self, callers: Callers, bucket: Any) -> str:
        put(bucket, key("D1"), key("D1", "b.bin"), key("D1", "c.zarr/0"))
        assets = {"a": asset("D1"), "b": asset("D1", "b.bin"), "c": asset("D1", "c.zarr")}
        callers.ask(ALICE, "POST", ITEMS, json=item("D1", OWN, assets=assets))  # the first of the tests makes it
        answer = callers.ask(CAROL, "GET", f"{ITEMS}/D1/download/a", roles=(READER, DOWNLOADER))
        assert answer.status_code == 302, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.headers["location"])

    def test_who_may(self, callers: Callers, address: str) -> None:
        assert httpx.get(address, trust_env=False).content == CONTENT
        table: list[tuple[str, tuple[str, ...], str, int]] = [
            (ALICE, (), "a", 302),
            (CAROL, (), "a", 404),
            (CAROL, (READER,), "a", 403),
            (CAROL, (DOWNLOADER,), "a", 404),
            (CAROL, (READER, DOWNLOADER), "b", 302),
            (ALICE, (), "nothing", 404),
            (ALICE, (), "c", 409),  # a product of many files
        ]
        for who, roles, name, status in table:
            answer = callers.ask(who, "GET", f"{ITEMS}/D1/download/{name}", roles=roles)
            assert answer.status_code == status, (who, roles, name, answer.text)
        assert callers.ask(ALICE, "GET", f"{ITEMS}/nothing/download/a").status_code == 404
        noted = callers.rows(
            "SELECT login FROM rs.audit WHERE action = 'asset.download' AND object = %s", f"{OWN}/D1/a"
        )
        assert {login for (login,) in noted} == {ALICE, CAROL}

    def test_misuse(self, callers: Callers, address: str) -> None:
        parts = urlsplit(address)
        query = dict(parse_qsl(parts.query))
        assert int(query["X-Amz-Expires"]) <= 900
        turned = {
            "another key": parts._replace(path=parts.path.replace("a.bin", "b.bin")),
            "the bucket": parts._replace(path=f"/{BUCKET}"),
            "longer": parts._replace(query=urlencode({**query, "X-Amz-Expires": "3600"})),
            "yesterday": parts._replace(query=urlencode({**query, "X-Amz-Date": "20200101T000000Z"})),
            "one more parameter": parts._replace(query=f"{parts.query}&response-content-type=text%2Fhtml"),
            "unsigned": parts._replace(query=""),
        }
        for what, place in turned.items():
            assert httpx.get(urlunsplit(place), trust_env=False).status_code in (400, 403), what
        for method in ("PUT", "DELETE", "POST"):
            answer = httpx.request(method, address, content=b"x", trust_env=False)
            assert answer.status_code in (403, 405, 501), (method, answer.text)
        assert httpx.get(address, trust_env=False).content == CONTENT

    async def test_its_time_ends(self, platform: Platform, callers: Callers, address: str) -> None:
        async with open_storage(settings(platform).storage) as storage, httpx.AsyncClient(trust_env=False) as http:
            short = await storage.signed(key("D1"), timedelta(seconds=1))
            assert (await http.get(short)).status_code == 200
            await asyncio.sleep(2.1)
            assert (await http.get(short)).status_code == 403


class TestKeys:
    """Storage keys open what the policy opens to their owner, and nothing else."""

    def test_scopes(self, callers: Callers, bucket: Any, platform: Platform) -> None:
        put(bucket, key("K1"), key("K1", full=PRIVATE))
        for full in (OWN, PRIVATE):
            made(callers, item("K1", full, assets={"a": asset("K1", full=full)}), full.partition("_")[0])
        wanted: list[tuple[str, tuple[str, ...], dict[str, Any], int]] = [
            (CAROL, (READER,), {"collection": OWN}, 403),
            (CAROL, (DOWNLOADER,), {"collection": OWN}, 404),
            (CAROL, (READER, DOWNLOADER), {"collection": OWN, "write": True}, 403),
            (CAROL, (READER, DOWNLOADER), {"collection": OWN, "item": "none"}, 404),
            (CAROL, (), {}, 404),
            (CAROL, (), {"item": "K1"}, 400),
        ]
        for who, roles, body, status in wanted:
            answer = callers.ask(who, "POST", "/storage/credentials", roles=roles, json=body)
            assert answer.status_code == status, (body, answer.text)
        answer = callers.ask(CAROL, "POST", "/storage/credentials", roles=(READER, DOWNLOADER), json={})
        client = _client(answer.json())
        assert _code(client.get_object, Key=key("K1")) == ""
        assert _code(client.get_object, Key=key("K1", full=PRIVATE)) == "AccessDenied"
        assert _code(client.put_object, Key=key("K1", "x"), Body=b"x") == "AccessDenied"
        answer = callers.ask(
            ALICE, "POST", "/storage/credentials", json={"collection": "s1", "item": "new", "write": True}
        )
        client = _client(answer.json())
        assert _code(client.put_object, Key=key("new"), Body=CONTENT) == ""
        for other in (key("K1"), key("x", full=PRIVATE), "top", f"{ALICE}/s1x/y"):
            assert _code(client.put_object, Key=other, Body=b"x") == "AccessDenied"
        attacks: tuple[Callable[[], Any], ...] = (
            lambda: client.list_objects_v2(Bucket=BUCKET),
            lambda: client.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
            lambda: client.delete_bucket(Bucket=BUCKET),
            lambda: client.copy_object(
                Bucket=BUCKET, Key=key("new", "b"), CopySource=f"{BUCKET}/{key('K1', full=PRIVATE)}"
            ),
        )
        for attack in attacks:
            with pytest.raises(ClientError, match="AccessDenied"):
                attack()
        made(callers, item("new", OWN, assets={"a": asset("new")}))

    def test_a_rules_bucket_is_opened_and_used(self, platform: Platform, bucket: Any) -> None:
        """The rule of the product type names the bucket that a key is for, and that the item's files may lie in."""
        other = f"rs-l0-{RUN}"
        bucket.create_bucket(Bucket=other)
        rule = {"product_type": "L0", "bucket": other}
        with calling(platform, catalog={"lifecycle": [rule]}) as callers:
            wanted = {"collection": OWN, "item": "B1", "write": True, "product_type": "L0"}
            told = callers.ask(ALICE, "POST", "/storage/credentials", json=wanted).json()
            assert (told["bucket"], told["prefix"]) == (other, key("B1", ""))
            client = _client(told)
            client.put_object(Bucket=other, Key=key("B1"), Body=CONTENT)
            with pytest.raises(ClientError, match="AccessDenied"):
                client.put_object(Bucket=other, Key=key("B2"), Body=CONTENT)
            properties = {"datetime": "2024-01-01T00:00:00Z", "product:type": "L0"}
            assets = {"a": {"href": f"s3://{other}/{key('B1')}"}}
            made(callers, item("B1", OWN, properties=properties, assets=assets))
            told = callers.ask(ALICE, "POST", "/storage/credentials", json={"collection": OWN, "item": "B1"}).json()
            assert told["bucket"] == other
            put(bucket, key("B3"))  # from before there was the rule
            made(callers, item("B3", OWN, properties=properties, assets={"a": asset("B3")}))
            for write, named in ((False, BUCKET), (True, other)):
                wanted = {"collection": OWN, "item": "B3", "write": write}
                assert callers.ask(ALICE, "POST", "/storage/credentials", json=wanted).json()["bucket"] == named
            assert callers.ask(ALICE, "DELETE", f"{ITEMS}/B1").status_code == 204
            assert bucket.list_objects_v2(Bucket=other).get("Contents", []) == []
        bucket.delete_bucket(Bucket=other)

    def test_the_form_of_the_aws_sdks(
        self, callers: Callers, bucket: Any, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(bucket, key("K2"))
        made(callers, item("K2", OWN, assets={"a": asset("K2")}))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        address = f"{callers.url}/storage/credentials?collection={OWN}&item=K2"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", f"Bearer {callers.issuer.token(ALICE)}")
        place = settings(platform).storage
        client = boto3.Session().client("s3", endpoint_url=place.endpoint, region_name=place.region)
        assert client.get_object(Bucket=BUCKET, Key=key("K2"))["Body"].read() == CONTENT
        with pytest.raises(ClientError, match="AccessDenied"):
            client.get_object(Bucket=BUCKET, Key=key("K1", full=PRIVATE))


def _client(told: dict[str, Any]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=told["endpoint"],
        region_name=told["region"],
        aws_access_key_id=told["access_key_id"],
        aws_secret_access_key=told["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def _code(call: Any, **arguments: Any) -> str:
    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def test_collections_have_an_owner_a_licence_and_a_host(callers: Callers) -> None:
    full = f"{ALICE}_plain"
    document = {name: value for name, value in collection("plain").items() if name != "license"}
    answer = callers.ask(ALICE, "POST", "/catalog/collections", json=document)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["id"], told["owner"], told["license"]) == (full, ALICE, "other")
    assert told["providers"] == [{"name": "The platform", "roles": ["host"]}]
    changes: tuple[dict[str, Any], ...] = ({"owner": BOB}, {"extent": {}}, {"license": ""})
    for change in changes:
        answer = callers.ask(ALICE, "PUT", f"/catalog/collections/{full}", json=collection(full, **change))
        assert answer.status_code == (403 if "owner" in change else 400), answer.text
        assert next(iter(change)) in answer.json()["detail"]
    assert callers.ask(ALICE, "DELETE", f"/catalog/collections/{full}").status_code == 200


def test_extensions_are_held_against_their_schemas_on_request(callers: Callers) -> None:
    held = ROOT / "stac-extensions.github.io" / "eo"
    if not held.is_dir():
        pytest.skip(f"no schemas in {ROOT}")
    version = max(path.name for path in held.iterdir())
    eo = f"https://stac-extensions.github.io/eo/{version}/schema.json"
    good = {"datetime": "2024-01-01T00:00:00Z", "eo:cloud_cover": 20}
    cases: list[tuple[dict[str, Any], list[str], str, int]] = [
        (good, [eo], "", 201),
        ({**good, "eo:cloud_cover": 120}, [eo], "", 400),
        ({**good, "eo:cloud_cover": 120}, [eo], "false", 201),
        (good, ["https://evil.test/schema.json"], "", 400),
        (good, ["file:///etc/passwd"], "", 400),
        (good, ["https://stac-extensions.github.io/../../x"], "", 400),
    ]
    for properties, extensions, wanted, status in cases:
        document = item(some_id(), OWN, properties=properties, stac_extensions=extensions)
        query = f"?validate_extensions={wanted or 'true'}"
        answer = callers.ask(ALICE, "POST", f"{ITEMS}{query}", json=document)
        assert answer.status_code == status, (extensions, answer.text)
        assert status == 201 or "cloud_cover" in answer.text or "stac_extensions" in answer.text


def test_ten_thousand_items_in_one_call(callers: Callers) -> None:
    full = f"{ALICE}_many"
    assert callers.ask(ALICE, "POST", "/catalog/collections", json=collection(full)).status_code == 201
    items = {f"m{number:05}": item(f"m{number:05}", full) for number in range(10_000)}
    bulk = f"/catalog/collections/{full}/bulk_items"
    answer = callers.ask(ALICE, "POST", bulk, json={"items": {**items, "odd": item("odd", PRIVATE)}})
    assert answer.status_code == 400, answer.text
    assert callers.ask(ALICE, "GET", f"/catalog/collections/{full}/items").json()["numberMatched"] == 0
    answer = callers.ask(ALICE, "POST", bulk, json={"items": items})
    assert (answer.status_code, answer.json()["success"]) == (200, 10_000), answer.text
    assert callers.ask(ALICE, "GET", f"/catalog/collections/{full}/items").json()["numberMatched"] == 10_000
    assert callers.ask(ALICE, "POST", bulk, json={"items": {"m00000": items["m00000"]}}).status_code == 409
    again = {"items": {"m00000": items["m00000"], "new": item("new", full)}, "method": "upsert"}
    assert callers.ask(ALICE, "POST", bulk, json=again).status_code == 200
    assert callers.ask(ALICE, "DELETE", f"/catalog/collections/{full}?force=true").status_code == 200
