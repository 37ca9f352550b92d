"""The service graph: what runs on this machine, in which order, and how each part proves that it works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path

from rs_platform import postgresql, steps
from rs_platform.probes import Both, Heartbeat, Http, Probe, Query
from rs_platform.site import Site

_KEYCLOAK_JAVA = (
    *("-Xms64m", "-Xmx384m", "-XX:MetaspaceSize=96M", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC"),
    "-XX:TieredStopAtLevel=1",  # ready in three quarters of the time; a laptop has few logins
    *("-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"),
    *("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US", "-Djava.security.egd=file:/dev/urandom"),
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    "-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
    "-Dpicocli.disable.closures=true",
)


@dataclass(frozen=True)
class Service:
    """A program that is kept running.

    ``needs`` names the services and steps that must be ready before it can be started, ``uses`` those without which it
    is not ready; ``ports`` the names of the ports it listens on; ``settings`` the rendered file whose change restarts
    it; ``patience_s`` how long it may take to become ready.
    """

    name: str
    command: tuple[str, ...]
    ready: Probe
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[str, ...] = ()
    url: str | None = None
    data: Path | None = None
    settings: Path | None = None
    stop_signal: str = "TERM"
    patience_s: float = 180.0


@dataclass(frozen=True)
class Step:
    """Something that is done once at each start, and changes nothing where it was done before.

    ``completes`` names a service that is of little use without it: who starts that one gets the step as well.
    """

    name: str
    needs: tuple[str, ...]
    run: Callable[[], None]
    completes: str | None = None


Node = Service | Step


def graph(site: Site) -> tuple[Node, ...]:
    """Everything that runs or is done, in an order that respects what each needs."""
    nodes = (
        Step("database-cluster", (), lambda: postgresql.ensure_cluster(site)),
        _postgres(site),
        Step("databases", ("postgres",), lambda: postgresql.ensure_databases(site), completes="postgres"),
        _keycloak(site),
        Step("realm", ("keycloak",), lambda: steps.apply_realm(site), completes="keycloak"),
        _s3_iam(site),
        _s3(site),
        Step("bucket", ("s3",), lambda: steps.ensure_bucket(site), completes="s3"),
        _station(site, "cadip-station"),
        _station(site, "auxip-station"),
        _station(site, "prip-station"),
        _station(site, "lta-station"),
        Step("migrations", ("databases",), lambda: steps.migrate(site)),
        _rs_server(site),
        _rs_worker(site),
        _dask_gateway(site),
        _hub(site),
    )
    return in_order(nodes)


def in_order(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes, each after all that it needs; ``graphlib.CycleError`` when there is no such order."""
    by_name = {node.name: node for node in nodes}
    order = TopologicalSorter({node.name: required(node) for node in by_name.values()}).static_order()
    return tuple(by_name[name] for name in order)


def services(nodes: Iterable[Node]) -> tuple[Service, ...]:
    """The programs among the nodes."""
    return tuple(node for node in nodes if isinstance(node, Service))


def selection(nodes: tuple[Node, ...], names: Iterable[str]) -> tuple[Node, ...]:
    """The named services, all that they need, and the steps that complete them; ``KeyError`` names an unknown one."""
    by_name = {node.name: node for node in nodes}
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting.extend(required(by_name[name]))
            waiting.extend(node.name for node in nodes if isinstance(node, Step) and node.completes == name)
    return tuple(node for node in nodes if node.name in wanted)


def required(node: Node) -> tuple[str, ...]:
    """All that a node cannot work without."""
    return (*node.needs, *node.uses) if isinstance(node, Service) else node.needs


def _postgres(site: Site) -> Service:
    cluster = site.data("postgres")
    # The program's path is settled when it is started: before the first start there is no cluster to fit.
    command = [str(postgresql.server_programs(cluster) / "postgres"), "-D", str(cluster)]
    return Service(
        "postgres",
        tuple(postgresql.as_unprivileged(command, cluster)),
        Query(site.superuser),
        needs=("database-cluster",),
        ports=("postgres",),
        url=f"postgresql://127.0.0.1:{site.ports['postgres']}",
        data=cluster,
        stop_signal="INT",  # closes at once; TERM waits for the clients to leave
    )


def _keycloak(site: Site) -> Service:
    home, tool = site.data("keycloak"), site.tools.keycloak
    return Service(
        "keycloak",
        (  # not through kc.sh: a killed script leaves its server behind
            *(
                site.java,
                *_KEYCLOAK_JAVA,
                f"-Djava.io.tmpdir={site.installation.temporary}",
            ),
            *(f"-Dkc.home.dir={home}", f"-Djboss.server.config.dir={home / 'conf'}"),
            *("-cp", str(tool / "lib" / "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint"),
            *("start", "--optimized"),
        ),
        Both(
            Http(site.ports.url("keycloak-management", "/health/ready"), '"status": "UP"'),
            Http(site.ports.url("keycloak", "/realms/master"), '"realm":"master"'),
        ),
        needs=("databases",),
        environment={
            "KC_DB_URL": f"jdbc:postgresql://127.0.0.1:{site.ports['postgres']}/keycloak",
            "KC_DB_USERNAME": "keycloak",
            "KC_DB_PASSWORD": site.secrets.keycloak_database_password,
            "KC_DB_POOL_MAX_SIZE": "10",
            "KC_CACHE": "local",  # else it opens ports on every network to look for others of its kind
            "KC_HOSTNAME": site.ports.url("keycloak"),
            "KC_HTTP_ENABLED": "true",
            "KC_HTTP_HOST": "127.0.0.1",
            "KC_HTTP_PORT": str(site.ports["keycloak"]),
            "KC_HTTP_MANAGEMENT_HOST": "127.0.0.1",
            "KC_HTTP_MANAGEMENT_PORT": str(site.ports["keycloak-management"]),
            "KC_BOOTSTRAP_ADMIN_USERNAME": steps.KEYCLOAK_ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": site.secrets.keycloak_admin_password,
        },
        ports=("keycloak", "keycloak-management"),
        url=site.ports.url("keycloak"),
        data=home,
    )


def _s3_environment(site: Site) -> dict[str, str]:
    return {"ROOT_ACCESS_KEY_ID": site.secrets.s3_access_key, "ROOT_SECRET_ACCESS_KEY": site.secrets.s3_secret_key}


def _s3_socket(site: Site) -> str:
    return str(site.installation.sockets / "s3-iam.sock")


def _s3_iam(site: Site) -> Service:
    folder = site.data("s3-iam")
    return Service(
        "s3-iam",
        (
            *(str(site.tools.versitygw), "--port", f"127.0.0.1:{site.ports['s3-iam']}", "--quiet"),
            *("iam", "--dir", str(folder), "--private-ports", _s3_socket(site), "--private-socket-perm", "0600"),
        ),
        Http(site.ports.url("s3-iam", "/health"), "UnknownOperationException", status=404),  # it has no page of its own
        environment=_s3_environment(site),
        ports=("s3-iam",),
        url=site.ports.url("s3-iam"),
        data=folder,
    )


def _s3(site: Site) -> Service:
    folder = site.data("s3")
    return Service(
        "s3",
        (
            *(str(site.tools.versitygw), "--port", f"127.0.0.1:{site.ports['s3']}", "--quiet"),
            *("--health", "/health", "--iam-standalone-endpoint", _s3_socket(site), "posix", str(folder)),
        ),
        Http(site.ports.url("s3", "/health"), "OK"),
        needs=("s3-iam",),
        environment=_s3_environment(site),
        ports=("s3",),
        url=site.ports.url("s3"),
        data=folder,
    )


def _station(site: Site, name: str) -> Service:
    settings = site.config(f"{name}.yaml")
    return Service(
        name,
        (site.python, "-m", "rs_server.simulators", "--settings", str(settings)),
        Http(site.ports.url(name, "/health"), '"ok"'),
        ports=(name,),
        url=site.ports.url(name),
        data=site.data(name),
        settings=settings,
    )


def _rs_server(site: Site) -> Service:
    settings = site.config("server.yaml")
    return Service(
        "rs-server",
        (
            *(site.python, "-m", "rs_server"),
            *("--host", "127.0.0.1", "--port", str(site.ports["rs-server"]), "--no-access-log"),
            "--no-proxy-headers",  # nothing stands in front: what a caller says of its address is not believed
        ),
        Http(site.ports.url("rs-server", "/ready"), '"ready":true'),
        needs=("migrations", "bucket"),
        uses=("realm",),
        environment={"RSPY_SETTINGS": str(settings)},
        ports=("rs-server",),
        url=site.ports.url("rs-server"),
        data=site.data("rs-server"),
        settings=settings,
    )


def _rs_worker(site: Site) -> Service:
    settings, heartbeat = site.config("server.yaml"), site.installation.run / "rs-worker.heartbeat"
    return Service(
        "rs-worker",
        (site.python, "-m", "rs_server.worker"),
        Heartbeat(heartbeat),
        needs=("migrations", "bucket"),
        environment={"RSPY_SETTINGS": str(settings), "RSPY_WORKER_HEARTBEAT": str(heartbeat)},
        data=site.data("rs-worker"),
        settings=settings,
    )


def _dask_gateway(site: Site) -> Service:
    settings = site.config("hub.yaml")
    return Service(
        "dask-gateway",
        (str(site.venv_bin / "dask-gateway-server"), "-f", str(site.checkout / "hub" / "dask_gateway_config.py")),
        Http(site.ports.url("dask-gateway", "/services/dask-gateway/api/health"), "pass"),
        environment={"RS_HUB_SETTINGS": str(settings)},
        ports=("dask-gateway", "dask-gateway-api", "dask-gateway-scheduler"),
        url=site.ports.url("dask-gateway", "/services/dask-gateway"),
        data=site.data("hub"),
        settings=settings,
    )


def _hub(site: Site) -> Service:
    settings = site.config("hub.yaml")
    return Service(
        "hub",
        (str(site.venv_bin / "jupyterhub"), "-f", str(site.checkout / "hub" / "jupyterhub_config.py")),
        Both(
            Http(site.ports.url("hub", "/hub/api/"), '"version"'),
            Http(site.ports.url("hub", "/services/rs-token/health"), '"ok"'),
        ),
        needs=("dask-gateway",),  # a hub whose services do not answer takes half a minute to start
        uses=("realm",),
        environment={"RS_HUB_SETTINGS": str(settings)},
        ports=("hub", "hub-api", "hub-proxy-api", "rs-token"),
        url=site.ports.url("hub"),
        data=site.data("hub"),
        settings=settings,
    )
