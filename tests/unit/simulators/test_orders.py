"""Orders and subscriptions: what becomes of them on the station's clock, within which quotas, and who is told."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from rs_server.simulators import subscriptions
from rs_server.simulators.app import TOKEN_PATH, create_app
from rs_server.simulators.notifier import Notifier
from rs_server.simulators.station import Station
from tests.unit.simulators.conftest import ADMIN, FORM, settings

ROOT = "/odata/v1"
CLOCK = {"start": "2025-01-01T00:00:00Z", "speed": 0}
OTHER = {"client_id": "other", "client_secret": "other-secret"}
LIFE = {"queued_s": 10, "work_s": 20, "online_s": 100}


@dataclass
class Far:
    """An archive, a client of it, and what it tells others."""

    client: httpx.AsyncClient
    station: Station
    notifier: Notifier
    told: list[httpx.Request]

    async def ask(self, path: str, **options: str) -> Any:
        answer = await self.client.get(f"{ROOT}/{path}", params={f"${name}": value for name, value in options.items()})
        return answer.raise_for_status().json()

    async def offline(self, number: int = 0) -> str:
        found = await self.ask("Products", filter="Online eq false", orderby="Name")
        return str(found["value"][number]["Id"])

    async def order(self, product: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"{ROOT}/Products({product})/OData.CSC.Order", json=body)

    async def subscribe(self, **body: Any) -> httpx.Response:
        given = {"FilterParam": "", "NotificationEndpoint": "http://owner.test/told", **body}
        return await self.client.post(f"{ROOT}/Subscriptions", json=given)

    async def pull(self, **body: Any) -> httpx.Response:
        return await self.client.post(f"{ROOT}/Subscriptions", json={"SubscriptionType": "pull", **body})

    @asynccontextmanager
    async def other(self) -> AsyncIterator[Far]:
        """The same station, for another client of it."""
        form = {"grant_type": "client_credentials", "client_id": "other", "client_secret": "other-secret"}
        token = (await self.client.post(TOKEN_PATH, data=form)).raise_for_status().json()["access_token"]
        async with httpx.AsyncClient(transport=self.client._transport, base_url="http://station") as client:
            client.headers["Authorization"] = f"Bearer {token}"
            yield replace(self, client=client)

    async def wait(self, seconds: float) -> None:
        answer = await self.client.put("/admin/clock", json={"advance_s": seconds}, headers=ADMIN)
        answer.raise_for_status()

    async def status(self, order: str) -> str:
        (found,) = (await self.ask("Orders", filter=f"Id eq {order}", count="true", top="1000"))["value"]
        return str(found["Status"])

    async def download(self, product: str) -> int:
        return (await self.client.get(f"{ROOT}/Products({product})/$value")).status_code

    async def messages(self) -> list[Any]:
        await self.notifier.look()
        found = [json.loads(request.content) for request in self.told]
        self.told.clear()
        return found


@asynccontextmanager
async def opened(kind: str = "lta", state_dir: Path | None = None, **scenario: Any) -> AsyncIterator[Far]:
    told: list[httpx.Request] = []

    def owner(request: httpx.Request) -> httpx.Response:
        told.append(request)
        return httpx.Response(200 if request.url.host == "owner.test" else 500)

    app = create_app(
        settings(kind, state_dir=state_dir, clients=[OTHER], scenario={"clock": CLOCK, "orders": LIFE, **scenario})
    )
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://station") as client,
        httpx.AsyncClient(transport=httpx.MockTransport(owner)) as out,
    ):
        token = (await client.post(TOKEN_PATH, data=FORM)).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield Far(client, app.state.station, Notifier(app.state.station, out), told)


async def test_an_order_from_beginning_to_end() -> None:
    async with opened() as far:
        product = await far.offline()
        assert await far.download(product) == 404
        answer = await far.order(product, Priority=70)
        assert answer.status_code == 201
        order = answer.json()
        assert order["@odata.context"] == "$metadata#OData.CSC.Order"
        assert (order["Status"], order["StatusMessage"], order["Priority"]) == ("queued", "request is queued", 70)
        assert (order["SubmissionDate"], order["EstimatedDate"]) == (
            "2025-01-01T00:00:00.000Z",
            "2025-01-01T00:00:30.000Z",
        )
        assert "CompletedDate" not in order
        assert "ProductId" not in order
        assert order["Id"] != product
        await far.wait(10)
        assert await far.status(order["Id"]) == "in_progress"
        assert await far.download(product) == 404
        await far.wait(20)
        (done,) = (await far.ask("Orders", filter="Status eq OData.CSC.JobStatus'completed'"))["value"]
        assert (done["Id"], done["CompletedDate"], done["EvictionDate"]) == (
            order["Id"],
            "2025-01-01T00:00:30.000Z",
            "2025-01-01T00:02:10.000Z",
        )
        shown = await far.ask(f"Orders({order['Id']})/Product", expand="Attributes")
        assert (shown["Id"], shown["Online"], shown["ContentLength"]) == (
            product,
            True,
            done["OrderSize"],
        )
        assert shown["Attributes"]
        assert await far.download(product) == 200
        await far.wait(100)
        assert (await far.ask(f"Products({product})"))["Online"] is False
        assert await far.download(product) == 404
        assert (await far.order(product)).json()["Id"] != order["Id"]


def files(folder: Path) -> list[Path]:
    return list(folder.glob("*.sqlite"))


async def test_a_restart_forgets_no_order_and_another_station_starts_anew(tmp_path: Path) -> None:
    async with opened(state_dir=tmp_path) as far:
        product = await far.offline()
        order = (await far.order(product)).json()["Id"]
        await far.subscribe()
    (kept,) = files(tmp_path)
    async with opened(state_dir=tmp_path) as far:
        await far.wait(30)
        assert await far.status(order) == "completed"
        assert await far.download(product) == 200
        assert (await far.ask("Subscriptions", count="true"))["@odata.count"] == 1
    async with opened(state_dir=tmp_path, holdings={"products": 5}) as far:
        assert (await far.ask("Products", count="true"))["@odata.count"] == 65
        assert (await far.ask("Orders"))["value"] == []
    assert kept not in files(tmp_path)


async def test_ordering_twice_is_ordering_once() -> None:
    async with opened() as far:
        product = await far.offline()
        first, second = [(await far.order(product)).json()["Id"] for _ in range(2)]
        assert first == second
        assert (await far.ask("Orders", count="true"))["@odata.count"] == 1


async def test_orders_that_make_no_sense() -> None:
    async with opened() as far:
        online = (await far.ask("Products", filter="Online eq true", top="1"))["value"][0]["Id"]
        assert (await far.order(online)).status_code == 409
        assert (await far.order("00000000-0000-0000-0000-000000000000")).status_code == 404
        assert (await far.order(await far.offline(), Priority=101)).status_code == 400
        assert (await far.order(await far.offline(), Prio=1)).status_code == 400
    async with opened("prip") as far:
        product = (await far.ask("Products", top="1"))["value"][0]["Id"]
        assert (await far.order(product)).status_code == 404


async def test_cancelling() -> None:
    async with opened() as far:
        product = await far.offline()
        order = (await far.order(product)).json()["Id"]
        await far.wait(15)
        cancel = f"{ROOT}/Orders({order})/OData.CSC.Cancel"
        assert (await far.client.post(cancel)).json()["Status"] == "cancelled"
        await far.wait(1000)
        assert await far.status(order) == "cancelled"
        assert await far.download(product) == 404
        assert (await far.client.post(cancel)).status_code == 409
        assert (await far.client.post(cancel.replace(order, product))).status_code == 404


async def test_failing_orders() -> None:
    async with opened(orders={**LIFE, "failing": 1.0, "estimate_off_s": 60, "estimate_drift_s": 30}) as far:
        product = await far.offline()
        order = (await far.order(product)).json()
        assert order["EstimatedDate"] == "2025-01-01T00:01:30.000Z"
        await far.wait(10)
        assert (await far.ask(f"Orders({order['Id']})"))["EstimatedDate"] == "2025-01-01T00:02:00.000Z"
        await far.wait(40)
        assert await far.status(order["Id"]) == "failed"
        assert await far.download(product) == 404


async def test_quotas() -> None:
    async with opened(quotas={"parallel_orders": 2, "total_orders": 3, "period_s": 1000, "status": 403}) as far:
        products = [await far.offline(number) for number in range(5)]
        assert [(await far.order(product)).status_code for product in products[:3]] == [201, 201, 403]
        refused = (await far.order(products[2])).json()["error"]["message"]
        assert refused == "User quota exceeded: parallel order requests, of which 2 are given"
        await far.wait(30)
        assert (await far.order(products[2])).status_code == 201
        assert "orders, of which 3" in (await far.order(products[3])).json()["error"]["message"]
        await far.wait(1000)
        assert (await far.order(products[3])).status_code == 201


async def test_an_older_archive_orders_what_is_downloaded() -> None:
    async with opened(orders={**LIFE, "offline_status": 202}) as far:
        product = await far.offline()
        assert [await far.download(product) for _ in range(2)] == [202, 202]
        assert (await far.ask("Orders", count="true"))["@odata.count"] == 1
        await far.wait(30)
        assert await far.download(product) == 200


async def test_online_may_be_a_lie_but_not_after_an_order() -> None:
    async with opened(orders={**LIFE, "online_lies": 1.0}) as far:
        product = (await far.ask("Products", filter="Online eq true", top="1"))["value"][0]["Id"]
        assert await far.download(product) == 404
        assert (await far.order(product)).status_code == 201
        await far.wait(30)
        assert await far.download(product) == 200


async def test_who_ordered_is_told() -> None:
    async with opened() as far:
        endpoint = {
            "NotificationEndpoint": "http://owner.test/done",
            "NotificationEpUsername": "me",
            "NotificationEpPassword": "secret",
        }
        answer = await far.order(await far.offline(), **endpoint)
        assert "secret" not in answer.text
        assert await far.messages() == []
        await far.wait(30)
        await far.notifier.look()
        (request,) = far.told
        assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"me:secret"
        (message,) = await far.messages()
        assert (message["Id"], message["Status"]) == (answer.json()["Id"], "completed")
        assert await far.messages() == []


# --- subscriptions ----------------------------------------------------------------------------------------------------


async def publish(far: Far, count: int) -> None:
    (await far.client.post("/admin/publish", json={"count": count}, headers=ADMIN)).raise_for_status()


@pytest.mark.parametrize("kind", ["auxip", "prip", "lta"])
async def test_a_subscriber_is_told_of_what_comes(kind: str) -> None:
    async with opened(kind) as far:
        answer = await far.subscribe(FilterParam="$filter=startswith(Name,'S1A')", NotificationEpUsername="me")
        assert answer.status_code == 201
        subscription = answer.json()
        assert (subscription["Status"], subscription["SubscriptionEvent"]) == ("running", ["created"])
        await far.wait(1)
        await publish(far, 3)
        await far.wait(1)
        messages = await far.messages()
        assert messages
        for message in messages:
            product = await far.ask(f"Products({message['ProductId']})")
            assert (product["Name"], message["SubscriptionId"]) == (message["ProductName"], subscription["Id"])
            assert product["Name"].startswith("S1A")
        assert await far.messages() == []
        shown = await far.ask(f"Subscriptions({subscription['Id']})")
        assert shown["LastNotificationDate"] == "2025-01-01T00:00:02.000Z"


async def test_deletions_changes_and_orders_that_follow() -> None:
    async with opened() as far:
        events = ["created", "modified", "deleted"]
        assert (await far.subscribe(SubscriptionEvent=events, StageOrder=True, Priority=9)).status_code == 201
        await far.wait(1)
        await publish(far, 2)
        await far.wait(1)
        created = await far.messages()
        assert [message["SubscriptionEvent"] for message in created] == ["created"] * 2
        (order,) = (await far.ask("Orders"))["value"]
        assert order["Priority"] == 9
        await far.wait(30)
        (modified,) = await far.messages()
        assert modified["SubscriptionEvent"] == "modified"
        await far.wait(1)
        body = {"name": modified["ProductName"]}
        (await far.client.post("/admin/deletions", json=body, headers=ADMIN)).raise_for_status()
        await far.wait(1)
        (deleted,) = await far.messages()
        assert (deleted["SubscriptionEvent"], deleted["ProductId"]) == ("deleted", modified["ProductId"])


async def test_a_queue_is_read_and_acknowledged() -> None:
    async with opened("prip") as far:
        made = (await far.pull(SubscriptionEvent=["created", "deleted"])).raise_for_status().json()
        assert made["SubscriptionType"] == "pull"
        assert "NotificationEndpoint" not in made
        url = f"{ROOT}/Subscriptions({made['Id']})"
        await far.wait(1)
        await publish(far, 3)
        await far.wait(1)
        assert await far.messages() == []  # nobody is called
        (oldest,) = (await far.client.get(f"{url}/Read")).raise_for_status().json()
        assert oldest["@odata.context"] == "$metadata#Notification/$entity"
        assert oldest["value"]["Name"] == oldest["ProductName"]
        assert {"Id", "Number"}.isdisjoint(oldest)
        read = (await far.client.get(f"{url}/Read", params={"$top": "20"})).json()
        assert [one["SubscriptionEvent"] for one in read] == ["created"] * 3
        assert read[0] == oldest
        answer = await far.client.post(f"{url}/Ack", params={"$ackid": read[1]["AckId"]})
        told = answer.raise_for_status().json()
        assert (told["AckMessagesNum"], told["CurrentQueueLength"], told["MaxQueueLength"]) == (2, 1, 100_000)
        assert (await far.client.get(f"{url}/Read", params={"$top": "20"})).json() == read[2:]
        again = await far.client.post(f"{url}/Ack", params={"$ackid": read[1]["AckId"]})
        assert (again.status_code, "no notification" in again.text) == (400, True)
        assert (await far.ask(f"Subscriptions({made['Id']})"))["LastNotificationDate"] == "2025-01-01T00:00:02.000Z"
        await far.wait(1)
        await far.client.post("/admin/deletions", json={"name": read[2]["ProductName"]}, headers=ADMIN)
        await far.wait(1)
        await far.notifier.look()
        *_, last = (await far.client.get(f"{url}/Read", params={"$top": "20"})).json()
        assert (last["SubscriptionEvent"], "value" in last) == ("deleted", False)
        assert (await far.client.delete(url)).status_code == 204
        assert (await far.client.get(f"{url}/Read")).status_code == 404


async def test_a_queue_fills_while_its_subscription_runs_and_outlives_the_station(tmp_path: Path) -> None:
    async with opened("auxip", state_dir=tmp_path) as far:
        key = (await far.pull()).json()["Id"]
        url = f"{ROOT}/Subscriptions({key})"
        for status in ("paused", "running"):
            (await far.client.patch(url, json={"Status": status})).raise_for_status()
            await far.wait(1)
            await publish(far, 1)
            await far.wait(1)
            await far.notifier.look()
        assert len((await far.client.get(f"{url}/Read", params={"$top": "5"})).json()) == 1
    async with opened("auxip", state_dir=tmp_path) as far:
        await far.wait(60)
        assert len((await far.client.get(f"{url}/Read", params={"$top": "5"})).json()) == 1


async def test_the_oldest_of_a_full_queue_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST_QUEUED", 2)
    async with opened("auxip") as far:
        url = f"{ROOT}/Subscriptions({(await far.pull()).json()['Id']})"
        await far.wait(1)
        await publish(far, 3)
        await far.wait(1)
        await far.notifier.look()
        names = [one["ProductName"] for one in (await far.client.get(f"{url}/Read", params={"$top": "9"})).json()]
        newest = await far.ask("Products", orderby="PublicationDate desc", top="3")
        assert set(names) < {one["Name"] for one in newest["value"]}
        assert len(names) == 2


@pytest.mark.parametrize(("query", "status"), [({"$top": "-1"}, 400), ({"$top": "many"}, 400)])
async def test_queues_that_are_asked_wrongly(query: dict[str, str], status: int) -> None:
    async with opened("auxip") as far:
        url = f"{ROOT}/Subscriptions({(await far.pull()).json()['Id']})"
        assert (await far.client.get(f"{url}/Read", params=query)).status_code == status
        called = f"{ROOT}/Subscriptions({(await far.subscribe()).json()['Id']})"
        assert (await far.client.get(f"{called}/Read")).status_code == 404
        assert (await far.client.get(f"{ROOT}/Notifications")).status_code == 404
        assert (await far.client.post(f"{ROOT}/Notifications", json={})).status_code == 404


# --- several clients --------------------------------------------------------------------------------------------------


async def test_what_a_client_ordered_and_subscribed_is_its_own() -> None:
    async with opened() as far, far.other() as other:
        product = await far.offline()
        order = (await far.order(product)).json()["Id"]
        subscription = (await far.subscribe()).json()["Id"]
        for path in (f"Orders({order})", f"Orders({order})/Product", f"Subscriptions({subscription})"):
            assert (await far.client.get(f"{ROOT}/{path}")).status_code == 200
            assert (await other.client.get(f"{ROOT}/{path}")).status_code == 404
        assert (await other.client.post(f"{ROOT}/Orders({order})/OData.CSC.Cancel")).status_code == 404
        assert (await other.client.delete(f"{ROOT}/Subscriptions({subscription})")).status_code == 404
        for name in ("Orders", "Subscriptions"):
            assert (await far.ask(name, count="true"))["@odata.count"] == 1
            assert (await other.ask(name, count="true"))["@odata.count"] == 0
            assert (await other.client.get(f"{ROOT}/{name}/$count")).text == "0"


async def test_two_clients_order_a_product_and_one_cancels() -> None:
    async with opened() as far, far.other() as other:
        product = await far.offline()
        first = (await far.order(product)).json()["Id"]
        await far.wait(5)
        second = (await other.order(product)).json()["Id"]
        assert first != second
        (await far.client.post(f"{ROOT}/Orders({first})/OData.CSC.Cancel")).raise_for_status()
        await far.wait(26)  # when the cancelled one would have been there
        assert await far.download(product) == 404
        await far.wait(4)
        assert await other.status(second) == "completed"
        assert await other.download(product) == 200
        await far.wait(101)
        assert await other.download(product) == 404


async def test_quotas_are_each_clients_own() -> None:
    quotas = {"parallel_orders": 1, "subscriptions": 1}
    async with opened(quotas=quotas, client_quotas={"other": {**quotas, "parallel_orders": 2, "status": 403}}) as far:
        async with far.other() as other:
            products = [await far.offline(number) for number in range(4)]
            assert [(await far.order(product)).status_code for product in products[:2]] == [201, 429]
            assert [(await other.order(product)).status_code for product in products[1:4]] == [201, 201, 403]
            assert [(await one.subscribe()).status_code for one in (far, other, far, other)] == [201, 201, 429, 403]
        log = (await far.client.get("/admin/requests?operation=order", headers=ADMIN)).json()
        assert [record["client"] for record in log] == ["client"] * 2 + ["other"] * 3


async def test_too_many_requests_in_a_minute() -> None:
    async with opened("auxip", quotas={"requests_per_minute": 3, "retry_after_s": 9}) as far:
        answers = [await far.client.get(f"{ROOT}/Products?$top=0") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].headers["retry-after"] == "9"
        async with far.other() as other:
            await other.ask("Products", top="0")
        await far.wait(61)
        await far.ask("Products", top="0")


@pytest.mark.parametrize("text", ["Client eq 'other'", "NotificationEpPassword eq 'secret'", "ProductId ne null"])
async def test_what_clients_do_not_see_they_do_not_find(text: str) -> None:
    async with opened() as far:
        await far.order(await far.offline())
        answer = await far.client.get(f"{ROOT}/Orders", params={"$filter": text})
        assert (answer.status_code, "no property" in answer.text) == (400, True)
        path = text.split(maxsplit=1)[0]
        for option in ("$orderby", "$select"):
            assert (await far.client.get(f"{ROOT}/Orders", params={option: path})).status_code == 400


async def test_pausing_and_cancelling() -> None:
    async with opened("auxip", quotas={"subscriptions": 1}) as far:
        first = (await far.subscribe()).json()["Id"]
        assert (await far.subscribe()).status_code == 429
        url = f"{ROOT}/Subscriptions({first})"
        paused = (await far.client.patch(url, json={"Status": "paused"})).json()
        assert paused["Status"] == "paused"
        await far.wait(1)
        await publish(far, 1)
        await far.wait(1)
        assert await far.messages() == []
        assert (await far.subscribe()).status_code == 201
        assert (await far.client.delete(url)).status_code == 204
        assert (await far.client.patch(url, json={"Status": "running"})).json()["Status"] == "cancelled"
        assert (await far.client.patch(url, json={"Status": "asleep"})).status_code == 400
        running = await far.ask("Subscriptions", filter="Status eq 'running'", count="true")
        assert running["@odata.count"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"FilterParam": "Nothing eq 5"},
        {"FilterParam": "NotificationEpPassword eq 'x'"},
        {"NotificationEndpoint": "nowhere"},
        {"SubscriptionEvent": []},
        {"SubscriptionType": "pull"},  # and yet an endpoint
        {"SubscriptionType": "push", "NotificationEndpoint": None},
        {"Extra": 1},
    ],
)
async def test_subscriptions_that_are_refused(body: dict[str, Any]) -> None:
    async with opened("auxip") as far:
        assert (await far.subscribe(**body)).status_code == 400


async def test_an_owner_who_does_not_answer_holds_nobody_back() -> None:
    async with opened("auxip") as far:
        await far.subscribe(NotificationEndpoint="http://broken.test/")
        await far.subscribe()
        await far.wait(1)
        await publish(far, 1)
        await far.wait(1)
        await far.notifier.look()
        assert sorted(request.url.host for request in far.told) == ["broken.test", "owner.test"]


async def test_the_log_knows_orders_and_subscriptions() -> None:
    async with opened() as far:
        await far.order(await far.offline())
        await far.subscribe()
        for operation in ("order", "subscription"):
            found = await far.client.get("/admin/requests", params={"operation": operation}, headers=ADMIN)
            assert [record["status"] for record in found.json()] == [201]
