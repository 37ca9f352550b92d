"""Keys for workers: they come from the session that opened the item, one question for all, and end with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from distributed import Client, LocalCluster

from rs_client import relay
from rs_client.errors import AuthExpired, NotFound
from rs_client.relay import Key
from rs_client.storage import Keys

pytestmark = pytest.mark.filterwarnings("ignore")  # what a cluster says while it closes is not ours


def key(number: int, seconds: float) -> Key:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"access_key_id": f"id{number}", "secret_access_key": "s", "expiration": until.isoformat()}


class Server:
    """Gives keys: the first ones end at once, later ones after an hour."""

    def __init__(self, short: int) -> None:
        self.asked, self._short, self._lock = 0, short, threading.Lock()

    def __call__(self) -> Key:
        with self._lock:
            self.asked += 1
            return key(self.asked, 0.2 if self.asked <= self._short else 3600)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0") as opened:  # type: ignore[no-untyped-call]
        yield opened


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as opened:  # type: ignore[no-untyped-call]
        yield opened


def used(keys: Keys, number: int) -> tuple[str, str]:
    """What a task does whose first key has ended; on a thread that is not the worker's, as ``obstore`` does it."""
    from distributed import get_worker

    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(keys()))
    thread.start()
    thread.join()
    return str(found[0]["access_key_id"]), get_worker().address


def test_workers_get_the_next_key_and_ask_once_for_all(client: Client) -> None:
    server = Server(short=1)
    keys = Keys("alice_l0", "one", server)
    time.sleep(0.3)
    futures = client.map(lambda number: used(keys, number), range(12), pure=False)
    answers = client.gather(futures)  # type: ignore[no-untyped-call]
    assert {access for access, _ in answers} == {"id2"}
    assert len({worker for _, worker in answers}) == 2
    assert server.asked == 2
    again = client.submit(used, keys, 99, pure=False).result()  # a copy of the first key, on a worker that knows better
    assert (again[0], server.asked) == ("id2", 2)


def test_a_key_that_ends_again_is_renewed_again(client: Client) -> None:
    server = Server(short=3)
    keys = Keys("alice_l0", "two", server)
    assert client.submit(used, keys, 0, pure=False).result()[0] in ("id1", "id2", "id3", "id4")
    for _ in range(4):
        time.sleep(0.3)
        last, _ = client.submit(used, keys, 1, pure=False).result()
    assert (last, server.asked) == ("id4", 4)


def test_what_the_session_is_refused_the_worker_is_told(client: Client) -> None:
    first = Server(short=1)

    def ask() -> Key:
        if first.asked:
            raise NotFound("item three does not exist")
        return first()

    keys = Keys("alice_l0", "three", ask)
    time.sleep(0.3)

    def failing() -> str:
        try:
            keys()
        except AuthExpired as error:
            return str(error)
        return "no error"

    assert "item three does not exist" in client.submit(failing, pure=False).result()


def test_what_was_not_opened_here_is_not_answered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys("alice_l0", "four", Server(short=1))
    client.submit(len, [keys], pure=False).result()

    def strange() -> bool:
        relay.PATIENCE_S = 1.0
        return relay.request(("bob_l0", "secret"), {"expiration": "2000-01-01T00:00:00+00:00"}) is None

    assert client.submit(strange, pure=False).result()


def test_without_a_cluster_nothing_is_asked() -> None:
    assert relay.request(("alice_l0", "five"), key(1, 0)) is None
