"""The compose file is what compose understands; its parts exist, and wait for each other and find each other."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import pytest
from ruamel.yaml import YAML
from sqlalchemy.engine import make_url

from sensord import __version__
from sensord.settings import DaemonSettings, Settings, load
from sensord.simulate import CHANNELS
from tests.conftest import missing
from tests.services import ServerUnavailable, kafka
from tests.test_readme import parse, section

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"


class Service(TypedDict, total=False):
    image: str
    command: Sequence[str]
    entrypoint: Sequence[str]
    environment: Mapping[str, str | int]
    volumes: Sequence[str]
    ports: Sequence[str]
    depends_on: Mapping[str, Mapping[str, str | bool]]
    healthcheck: Mapping[str, object]
    restart: str
    read_only: bool
    tmpfs: str
    cap_drop: Sequence[str]
    security_opt: Sequence[str]
    secrets: Sequence[str | Mapping[str, str]]
    stop_grace_period: str


def loaded(file: Path) -> dict[str, object]:
    return cast(dict[str, object], YAML(typ="safe").load(file))


SERVICES = cast(dict[str, Service], loaded(FILE)["services"])
OURS = {name: service for name, service in SERVICES.items() if "sensord:" in service["image"]}


def command(service: Service) -> str:
    """The command line that sensord is given."""
    if "entrypoint" in service:
        [line] = re.findall(r"\bsensord [^;]*", service["entrypoint"][-1])
        return str(line).strip()
    return " ".join(["sensord", *service["command"]])


def mounted() -> Iterator[Path]:
    """Files that are given to a container."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            if volume.startswith("."):
                yield FOLDER / volume.split(":")[0]
    for secret in cast(dict[str, Mapping[str, str]], loaded(FILE)["secrets"]).values():
        yield FOLDER / re.sub(r"\$\{\w+:-(.*)\}", r"\1", secret["file"])


@pytest.fixture(scope="module")
def settings() -> Settings:
    """As the daemon has them."""
    environment = {name: str(value) for name, value in OURS["daemon"]["environment"].items()}
    return load(FOLDER / "sensord.toml", environ=environment)


def understood(file: Path) -> bool:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(check, capture_output=True, timeout=60, check=False).returncode == 0


def test_compose_understands_every_line(tmp_path: Path) -> None:
    assert understood(FILE)
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(FILE.read_text(encoding="utf-8").replace("healthcheck:", "healthchek:", 1), encoding="utf-8")
    assert not understood(misspelt)


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists_with_its_options(name: str) -> None:
    parse(command(OURS[name]), whole=True)


def test_every_file_that_is_mounted_exists() -> None:
    assert [path for path in mounted() if not path.is_file()] == []


def test_the_settings_load_and_name_what_is_there(settings: Settings) -> None:
    database = make_url(settings.store.full_url)
    environment = SERVICES["postgres"]["environment"]
    assert database.host in SERVICES
    assert (database.username, database.database) == (environment["POSTGRES_USER"], environment["POSTGRES_DB"])
    listeners = str(SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"])
    assert f"//{settings.kafka.bootstrap_servers}," in listeners
    assert settings.fleets["pumps"].channels == tuple(channel.name for channel in CHANNELS)


def test_the_password_lies_where_sensord_looks_for_it() -> None:
    for service in OURS.values():
        assert service["secrets"] == [{"source": "store_password", "target": "/run/secrets/sensord/store__password"}]


def test_no_password_stands_in_the_file_itself() -> None:
    for service in SERVICES.values():
        named = [name for name in service.get("environment", {}) if "PASSWORD" in name]
        assert [name for name in named if not name.endswith("_FILE")] == []
    assert "://sensord:" not in FILE.read_text(encoding="utf-8")


def test_the_topic_that_is_played_into_is_read(settings: Settings) -> None:
    words = SERVICES["example-messages"]["command"]
    assert words[words.index("--topic") + 1] in settings.fleets["pumps"].topics


def test_whoever_is_waited_for_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            awaited = SERVICES[other]
            if how["condition"] == "service_healthy":
                assert "test" in awaited["healthcheck"], f"{name} waits for {other}, of which nobody asks how it is"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert awaited["restart"] == "no", f"{name} waits for the end of {other}, which is started again"


@pytest.mark.parametrize("name", ["daemon", "trainer", "example-training"])
def test_nobody_comes_before_the_schema(name: str) -> None:
    assert OURS[name]["depends_on"]["upgrade"] == {"condition": "service_completed_successfully"}


def test_the_daemon_may_drain() -> None:
    grace_s = int(OURS["daemon"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > DaemonSettings().drain_timeout_s + 10


def test_only_what_answers_over_http_is_asked_how_it_is() -> None:
    for name, service in OURS.items():
        disabled = service.get("healthcheck") == {"disable": True}
        assert disabled != (name == "daemon"), name


def test_every_container_of_ours_has_no_right_and_a_root_that_stays_as_it_is() -> None:
    for service in OURS.values():
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, "/tmp", ["ALL"])  # noqa: S108  # its own
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_port_is_for_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_readme_says_where_each_is_and_how_to_enter() -> None:
    said = " ".join(section("In containers").split())
    for name, told in (
        ("kafka", "`localhost:{}`"),
        ("postgres", "port {}"),
        ("prometheus", "at {}"),
        ("grafana", "at {}"),
    ):
        [port] = SERVICES[name]["ports"]
        assert told.format(port.split(":")[1]) in said
    for secret in ("store_password", "grafana_password"):
        assert f"password are `{(FOLDER / 'passwords' / secret).read_text().strip()}`" in said


def test_prometheus_asks_the_daemon_where_it_answers() -> None:
    [job] = cast(list[dict[str, list[dict[str, list[str]]]]], loaded(FOLDER / "prometheus.yaml")["scrape_configs"])
    [[target]] = [each["targets"] for each in job["static_configs"]]
    host, port = target.split(":")
    dockerfile = (FOLDER.parent / "container" / "Dockerfile").read_text(encoding="utf-8")
    assert host in OURS
    assert f"SENSORD_HTTP__PORT={port}\n" in dockerfile


def test_the_versions_are_those_that_are_tested() -> None:
    assert {service["image"] for service in OURS.values()} == {f"${{SENSORD_IMAGE:-sensord:{__version__}}}"}
    [version] = re.findall(r"<artifactId>kafka_2.13</artifactId>\s*<version>(.*)</version>", kafka.POM.read_text())
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_kafka_takes_its_settings(tmp_path: Path) -> None:
    """As the image does: KAFKA_LOG_DIRS is log.dirs."""
    try:
        jars = kafka.fetched()
    except ServerUnavailable as error:
        missing(str(error))
    given = {**SERVICES["kafka"]["environment"], "KAFKA_LOG_DIRS": str(tmp_path / "data")}
    names = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in given.items()}
    properties = tmp_path / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in names.items()))
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id=5L6g3nShT-eMCtK--X86sw", "-c", str(properties)]
    done = subprocess.run([*kafka.JAVA, "-cp", f"{jars}/*", *tool], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "meta.properties").exists()
