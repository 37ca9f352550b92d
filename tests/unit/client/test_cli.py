"""The verbs on the command line: what they print, the form for programs, and an exit code for each kind of problem."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from rs_client import cli, errors, reproduce, verbs
from rs_client.auth import DeviceLogin
from rs_client.processing import command
from rs_client.session import RsClient
from rs_client.tokenstore import FileStore
from tests.unit.client.far import SERVER, http, session
from tests.unit.client.test_reproduce import PLAN
from tests.unit.client.test_subscriptions import ENDED, RECORD

ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "S1A_1",
    "collection": "s1-sgs",
    "geometry": None,
    "properties": {"datetime": "2024-11-14T14:30:44Z", "platform": "sentinel-1a"},
    "links": [{"rel": "self", "href": f"{SERVER}/cadip/collections/s1-sgs/items/S1A_1"}],
    "assets": {"a": {"href": "s3://x/a", "file:size": 1_500_000}},
}
COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "s1-sgs",
    "description": "Sessions",
    "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}
JOB: dict[str, Any] = {
    "jobID": "j1",
    "processID": "staging",
    "status": "successful",
    "progress": 100,
    "created": "2024-11-14T14:30:44Z",
}
KEY = {"id": "k1", "name": "chain", "owner": "alice", "expires": "2027-01-01T00:00:00Z"}
ANSWERS: dict[str, Any] = {
    "GET /auth/me": {"login": "alice", "roles": ["rs_cadip_*_read"], "groups": ["rs-users"], "via": "api_key"},
    "GET /cadip/collections": {"collections": [COLLECTION]},
    "POST /cadip/search": {"type": "FeatureCollection", "features": [ITEM], "links": []},
    "POST /processes/staging/execution": JOB,
    "GET /jobs": {"jobs": [JOB, {**JOB, "jobID": "j2", "status": "running", "progress": 40}]},
    "GET /jobs/j1": JOB,
    "GET /jobs/j1/log": [{"at": "", "line": "staged"}],
    "DELETE /jobs/j1": {**JOB, "status": "dismissed"},
    "GET /jobs/j1/results": {"items": [{"href": f"{SERVER}/cadip/collections/s1-sgs/items/S1A_1"}]},
    "GET /cadip/collections/s1-sgs/items/S1A_1": ITEM,
    "GET /jobs/j3": {**JOB, "jobID": "j3", "status": "failed", "message": "no space"},
    "GET /catalog/collections/s1-l0/readers": {"readers": [{"user": "bob", "rights": ["read"], "until": None}]},
    "PUT /catalog/collections/s1-l0/readers": {"readers": []},
    "DELETE /catalog/collections/s1-l0/readers/user/bob": {},
    "POST /auth/api_keys": {**KEY, "api_key": "rsk_new"},
    "GET /auth/api_keys": [KEY],
    "DELETE /auth/api_keys/k1": {},
    "POST /processes/s1-l0/execution": JOB,
    "POST /dpr/processes/s1-l0/plan": PLAN,
    "GET /catalog/collections/s1-cadu/items/S1A_1": ITEM,
    "POST /processes/staging/subscriptions": RECORD,
    "GET /processes/staging/subscriptions": {"subscriptions": [RECORD, ENDED]},
    "GET /processes/staging/subscriptions/u1": RECORD,
    "DELETE /processes/staging/subscriptions/u1": {},
}


class Server:
    """Knows these routes, and the landing pages."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.fault: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.fault is not None:
            return self.fault
        path = request.url.path
        if path in ("/cadip/", "/catalog/"):
            links = [
                {"rel": rel, "href": f"{SERVER}{path}{end}", "type": "application/json"}
                for rel, end in (("self", ""), ("search", "search"), ("data", "collections"))
            ]
            landing = {"type": "Catalog", "id": "x", "description": "x", "stac_version": "1.0.0"}
            names = ("item-search", "collections", "item-search#filter")
            conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in names]
            return httpx.Response(200, json={**landing, "conformsTo": conforms, "links": links})
        found = ANSWERS.get(f"{request.method} {path}")
        return httpx.Response(404, json={"detail": "not here"}) if found is None else httpx.Response(200, json=found)

    def bodies(self, path: str) -> list[Any]:
        return [json.loads(each.content) for each in self.requests if each.url.path == path]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    server = Server()

    def connect(*_: object, **__: object) -> RsClient:
        return session(server)

    for name in [name for name in os.environ if name.startswith(("RS_", "RSPY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("rs_client.connect", connect)
    return server


ROOT = typer.Typer()
for _verbs in (cli.commands, command.commands, reproduce.commands):
    ROOT.add_typer(_verbs)


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(ROOT, list(arguments), input=stdin)


def leaves(found: Any, name: str = "rs") -> Iterator[tuple[str, Any]]:
    """The verbs below a command, by what one types."""
    if hasattr(found, "commands"):
        for below, each in found.commands.items():
            yield from leaves(each, f"{name} {below}")
    else:
        yield name, found


VERBS = dict(leaves(typer.main.get_command(ROOT)))


TEXTS = [
    (["whoami"], "alice"),
    (["whoami", "--json"], '"login": "alice"'),
    (["collections", "cadip"], "s1-sgs"),
    (["collections", "cadip", "--json"], '"id": "s1-sgs"'),
    (["search", "cadip", "-w", "platform=sentinel-1a"], "sentinel-1a  1.5 MB"),
    (["search", "cadip", "--href"], f"{SERVER}/cadip/collections/s1-sgs/items/S1A_1\n"),
    (["search", "cadip", "--json"], '"type": "FeatureCollection"'),
    (["search", "cadip", "--id", "S1A_1", "--code"], "hits = s.cadip.search("),
    (["stage", f"{SERVER}/x", "--to", "s1-cadu"], "S1A_1"),
    (["stage", f"{SERVER}/x", "--to", "s1-cadu", "--no-wait", "--json"], '"job": "j1"'),
    (["jobs", "list"], "j2   staging  running     40"),
    (["jobs", "list", "--json"], '"job": "j2"'),
    (["jobs", "show", "j1"], "<Job j1 staging · successful · 100 %>"),
    (["jobs", "wait", "j1", "--json"], f'"{SERVER}/cadip/collections/s1-sgs/items/S1A_1"'),
    (["jobs", "log", "j1"], "staged\n"),
    (["jobs", "dismiss", "j1"], "dismissed"),
    (["share", "s1-l0"], "user bob: read\n"),
    (["share", "s1-l0", "--json"], '"name": "bob"'),
    (["share", "s1-l0", "-u", "bob", "-g", "cal-val"], "user bob: read\n"),
    (["share", "s1-l0", "-u", "bob", "--revoke"], "user bob: read\n"),
    (["keys", "create", "chain"], "rsk_new\n"),
    (["keys", "list"], "k1  2027-01-01  chain\n"),
    (["keys", "revoke", "k1"], "revoked\n"),
    (["login", SERVER], f"alice at {SERVER}\n"),
    (["login", "--json"], f'"server": "{SERVER}"'),
    (["jobs", "log", "j1", "--json"], '"staged"'),
    (["jobs", "dismiss", "j1", "--json"], '"status": "dismissed"'),
    (["keys", "revoke", "k1", "--json"], '"revoked": "k1"'),
    (["process", "s1-l0", "s1-cadu/S1A_1", "--to", "s1-l0"], "S1A_1"),
    (["process", "s1-l0", "s1-cadu/S1A_1", "--no-wait", "--json"], '"job": "j1"'),
    (["subscribe", "cadip", "-w", "platform=sentinel-1a", "--to", "s1-cadu"], "<Subscription u1 cadip, collections s1"),
    (["subscribe", "cadip", "--to", "s1-cadu", "--json"], '"to": "alice_s1-cadu"'),
    (["subscriptions", "list"], "alice_s1-cadu  ended     3"),
    (["subscriptions", "list", "--json"], '"ended": "2026-11-26 19:00:00+00:00"'),
    (["subscriptions", "show", "u1"], "3 items in 1 job>"),
    (["subscriptions", "show", "u1", "--json"], '"jobs": 1'),
    (["subscriptions", "end", "u1"], "ended\n"),
    (["subscriptions", "end", "u1", "--json"], '"ended": "u1"'),
    (["process", "s1-l0", f"{SERVER}/x", "--plan"], "s1-l0 1.0.0 on 2 workers"),
    (["process", "s1-l0", f"{SERVER}/x", "--plan", "--json"], '"processor": "s1-l0"'),
]


@pytest.mark.parametrize(
    ("arguments", "said"), TEXTS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_it_says(server: Server, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert said in done.stdout
    if "--json" in arguments:
        json.loads(done.stdout)


def test_words_are_those_of_the_library(server: Server) -> None:
    run("search", "cadip", "-w", "orbit=7", "-w", "platform=7", "-n", "3")
    orbit, platform = server.bodies("/cadip/search")[0]["filter"]["args"]
    assert orbit == {"op": "=", "args": [{"property": "sat:absolute_orbit"}, 7]}
    assert platform["args"][1] == 7


def test_addresses_come_through_a_pipe(server: Server) -> None:
    assert run("stage", "-", "--to", "s1-cadu", stdin=f"{SERVER}/a\n\n{SERVER}/b\n").exit_code == 0
    (body,) = server.bodies("/processes/staging/execution")
    assert body["inputs"]["items"] == [{"href": f"{SERVER}/a"}, {"href": f"{SERVER}/b"}]


def test_what_failed_is_told_beside_what_came_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"item": "S1A_2", "outcome": "failed", "reason": "no space"}
    results = {**ANSWERS["GET /jobs/j1/results"], "report": [{"item": "S1A_1", "outcome": "published"}, bad]}
    monkeypatch.setitem(ANSWERS, "GET /jobs/j1/results", results)
    for verb in (["stage", f"{SERVER}/x", "--to", "s1-cadu"], ["jobs", "wait", "j1"]):
        done = run(*verb)
        assert "S1A_1" in done.stdout
        assert "failed: S1A_2: no space" in done.stderr
    assert json.loads(run("jobs", "wait", "j1", "--json").stdout)["failed"] == [bad]


def test_how_items_are_staged_may_be_said(server: Server) -> None:
    said = ["--asset", "a", "--asset", "b", "--existing", "skip", "--follow", "--strict", "--priority", "0"]
    assert run("stage", f"{SERVER}/a", "--to", "s1-cadu", *said).exit_code == 0
    (body,) = server.bodies("/processes/staging/execution")
    options = {"assets": ["a", "b"], "existing": "skip", "follow": True, "strict": True, "priority": 0}
    assert body["inputs"] == {"items": [{"href": f"{SERVER}/a"}], "collection": "s1-cadu", **options}


def test_a_subscription_is_a_search_with_the_options_of_staging(server: Server) -> None:
    search = ["-c", "s1-sgs", "-w", "orbit=7", "--datetime", "2024-11-14", "--id", "a", "--bbox", "1,2,3,4"]
    options = ["--since", "2026-11-26T18:00:00", "--no-follow", "--existing", "skip", "--asset", "x", "--priority", "0"]
    assert run("subscribe", "cadip", *search, *options, "--strict", "--to", "s1-cadu").exit_code == 0
    (body,) = server.bodies("/processes/staging/subscriptions")
    assert body.pop("search") == {
        "collections": ["s1-sgs"],
        "ids": ["a"],
        "bbox": [1, 2, 3, 4],
        "datetime": "2024-11-14T00:00:00Z/2024-11-14T23:59:59Z",
        "filter": {"op": "=", "args": [{"property": "sat:absolute_orbit"}, 7]},
        "filter-lang": "cql2-json",
    }
    assert body == {
        "service": "cadip",
        "collection": "s1-cadu",
        "since": "2026-11-26T18:00:00+00:00",
        "assets": ["x"],
        "existing": "skip",
        "follow": False,
        "priority": 0,
        "strict": True,
    }


def test_a_processor_gets_items_by_name_and_by_address(server: Server) -> None:
    done = run("process", "s1-l0", "s1-cadu/S1A_1", "-", "-p", "basis=dual", "--to", "s1-l0", stdin=f"{SERVER}/b\n")
    assert done.exit_code == 0, done.output
    (body,) = server.bodies("/processes/s1-l0/execution")
    assert body["inputs"] == {
        "items": [{"href": ITEM["links"][0]["href"]}, {"href": f"{SERVER}/b"}],
        "collection": "s1-l0",
        "parameters": {"basis": "dual"},
    }


def test_an_item_that_is_not_there_is_not_left_out(server: Server) -> None:
    done = run("process", "s1-l0", "s1-cadu/S1A_1", "s1-cadu/S1A_2", "--to", "s1-l0")
    assert (done.exit_code, server.bodies("/processes/s1-l0/execution")) == (verbs.FAILED, [])


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_form_for_programs_and_exit_codes(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in VERBS[name].params)
    assert isinstance(VERBS[name], verbs.Verb)
    assert VERBS[name].help


@pytest.mark.parametrize(
    "arguments",
    [["whoami"], ["process", "s1-l0", "c/i", "--to", "x"], ["process", "s1-l0", f"{SERVER}/x"], ["reproduce", "c/i"]],
)
@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 3), (403, 3), (404, 1), (409, 1), (429, 1), (502, 4), (503, 4)]
)
def test_a_problem_is_a_sentence_and_an_exit_code(server: Server, status: int, code: int, arguments: list[str]) -> None:
    server.fault = httpx.Response(status, json={"detail": "it is so", "hint": "do that", "request_id": "r1"})
    done = run(*arguments)
    assert done.exit_code == code
    assert done.stderr == "error: it is so\n  → do that\n  → request r1\n"
    assert done.stdout == ""


def test_a_failed_job_is_a_failure(server: Server) -> None:
    done = run("jobs", "wait", "j3")
    assert done.exit_code == verbs.FAILED
    assert "staging failed: no space" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "moon"],
        ["search", "cadip", "-w", "platform"],
        ["stage", "x"],
        ["share", "s1-l0", "--revoke"],
        ["subscribe", "moon", "--to", "x"],
        ["subscribe", "cadip"],
        ["subscribe", "cadip", "--to", "x", "-w", "platform"],
        ["subscribe", "cadip", "--to", "x", "-w", "max_items=3"],
        ["subscribe", "cadip", "--to", "x", "--since", "yesterday"],
        ["process", "s1-l0"],
        ["process", "s1-l0", "S1A_1"],
        ["reproduce", "S1A_1"],
        ["fly"],
    ],
)
def test_what_is_asked_wrongly(server: Server, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == verbs.USAGE


def test_every_error_has_an_exit_code() -> None:
    for name in errors.__dict__.values():
        if isinstance(name, type) and issubclass(name, errors.RsError):
            more: dict[str, Any] = {"versions": {}} if name is errors.EnvironmentMismatch else {}
            assert 1 <= verbs.exit_code(name("x", **more)) <= 4


def test_a_shell_completes_the_ids_of_jobs(server: Server) -> None:
    assert verbs.offered(cli._job_ids) == ["j1", "j2"]
    server.fault = httpx.Response(401)
    assert verbs.offered(cli._job_ids) == []


def test_a_shell_completes_the_ids_of_subscriptions_that_stand(server: Server) -> None:
    assert verbs.offered(cli._subscription_ids) == ["u1"]


def test_a_shell_that_completes_asks_nobody_to_log_in(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login = http(server)
    login.auth = DeviceLogin("http://keycloak.test", FileStore(tmp_path / "login.json"))
    monkeypatch.setattr("rs_client.connect", lambda: RsClient(login))
    assert verbs.offered(cli._job_ids) == []
    assert server.requests == []


def test_who_stops_waiting_hears_how_to_come_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise KeyboardInterrupt
        return httpx.Response(200, json={**JOB, "jobID": "j2", "status": "running"})

    monkeypatch.setattr("rs_client.connect", lambda: session(answer))
    done = run("jobs", "wait", "j2")
    assert done.exit_code == verbs.INTERRUPTED
    assert "rs jobs wait j2" in done.stderr
