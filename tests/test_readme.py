"""README.md keeps its word: what it shows works, what it lists is all there is, its numbers are the code's.

In README.md a `sh` block is a step of the ten minutes and is run here; a `bash` block is only parsed.
"""

import csv
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Literal, get_args, get_origin
from uuid import UUID

import click
import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from sqlalchemy import Engine

from sensord import errors
from sensord.cli.alerts import COLUMNS
from sensord.cli.main import EXIT_INTERRUPTED
from sensord.cli.main import sensord as root
from sensord.clock import MICROSECONDS
from sensord.daemon.policy import Pace
from sensord.daemon.swaps import AT_ONCE
from sensord.detection.alerts import BESIDE_EPISODES, AlertChange, Kind, Severity, Status
from sensord.detection.channels import EVENT_CHANNELS
from sensord.detection.devices import RING
from sensord.detection.drift import AGAIN, SPAN
from sensord.detection.episodes import LONG
from sensord.detection.likeness import GROWN, GROWN_ELSEWHERE, OF_LEVELS, SIMILAR
from sensord.metrics import Metrics, NotifierMetrics
from sensord.model.manifest import Tuning
from sensord.model.network import WAVE
from sensord.notify.sinks import signature
from sensord.readings import DeadLetter, Partition, Record
from sensord.settings import DaemonSettings, FleetSettings, KafkaSettings, Settings, load
from sensord.settings.groups import Group
from sensord.store.alerts import Feedback, feedback
from sensord.store.database import open_engine, reading, upgrade
from sensord.store.progress import Checkpoint, Progress
from sensord.stream.dead_letters import DEVICE_ID_LIMIT, KEY_LIMIT, LETTERS_LIMIT, PAYLOAD_LIMIT, VALUE_LIMIT, Reason
from sensord.stream.decoders.json import JsonDecoder
from sensord.stream.formats.decoder import decoder_of
from sensord.trainer.calibrate import OWN_PROFILE
from sensord.trainer.evaluation.protocols import SKAB_HISTORY
from sensord.trainer.history import Needs
from sensord.trainer.holes import MARGIN, SHORTEST
from sensord.trainer.offline import LEAD_IN
from sensord.trainer.search.merit import FEWEST_FAULTS, READINGS_FOR_A_FAULT
from tests.cli.rows import alert

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "sensord" / "README.md").read_text(encoding="utf-8")
PUMPS = Partition("sensors.pumps", 0)
NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z, of the message shown
NOVEMBER = 1_793_491_200 * MICROSECONDS  # 2026-11-01T00:00:00Z


def blocks(language: str) -> list[str]:
    """What stands between fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """The text under a heading, down to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ )", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no heading {heading!r}"
    return found[1]


def first_column(text: str) -> list[str]:
    """The first cell of each row of a table, without its heading and its back-ticks."""
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [cell.strip("`") for cell in cells[1:]]


# --- commands --------------------------------------------------------------------------------------------------------


def shown_commands() -> list[str]:
    lines = [line for language in ("sh", "bash", "shell") for block in blocks(language) for line in block.splitlines()]
    return list(dict.fromkeys(line.split(" > ")[0] for line in lines))


def named_commands() -> list[str]:
    """Commands in running text."""
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    return sorted(set(re.findall(r"`(sensord [a-z][^`]*)`", text)))


def parse(line: str, whole: bool) -> None:
    """Raises UsageError where the command or an option doesn't exist; if whole, for missing and wrong ones too."""
    name, *args = shlex.split(line)
    assert name == "sensord", line
    command: click.Command = root
    context = click.Context(root)
    while isinstance(command, click.Group) and args:
        _, found, args = command.resolve_command(context, args)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    given, left, _ = command.make_parser(context).parse_args(args)
    assert not left, line
    for parameter in command.params if whole else ():
        value = given.get(parameter.name or "")
        if not isinstance(parameter.type, click.Path):  # files are for the walk
            value = parameter.type_cast_value(context, value)
        assert not (parameter.required and not value), f"{line}: {parameter.name} is missing"


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_shown_exists_with_its_options(line: str) -> None:
    parse(line, whole=True)


@pytest.mark.parametrize("line", named_commands())
def test_every_command_named_in_the_text_exists(line: str) -> None:
    parse(line, whole=False)


def test_the_list_of_alerts_shown_has_the_columns_that_it_has() -> None:
    [shown] = blocks("text")
    assert re.split(r"  +", shown.splitlines()[0]) == [column.heading for column in COLUMNS]


# --- files and links -------------------------------------------------------------------------------------------------


def test_every_file_named_exists() -> None:
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    named = set(re.findall(r"`((?:scripts|sensord|tests|\.ci)/[\w./-]+)`", text))
    linked = set(re.findall(r"\]\(([^)#]+)\)", text))
    assert [path for path in sorted(named | linked) if not (ROOT / path).exists()] == []


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", README, re.M)}
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) - headings == set()


def test_the_map_names_every_file_and_no_other() -> None:
    house = ROOT / "sensord"
    files = {
        path.relative_to(house).as_posix()
        for path in house.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size and path.name != "README.md"
    }
    assert set(re.findall(r"^- `([\w./]+)`: ", MAP, re.MULTILINE)) == files


def test_the_map_shows_the_layers_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert " > ".join(layer.replace("(", "").replace(")", "") for layer in layers) in " ".join(MAP.split())


# --- messages and settings -------------------------------------------------------------------------------------------


def test_the_message_shown_becomes_a_reading() -> None:
    [message] = blocks("json")
    for value in (message, f"[{message}, {message}]"):
        decoded = JsonDecoder(("temperature", "vibration")).decode(PUMPS, [Record(0, NOON_MS, None, value.encode())])
        assert decoded.dead_letters == []
        assert set(decoded.readings.device_ids) == {"pump-07"}


def test_every_reason_for_a_dead_letter_is_listed() -> None:
    assert first_column(section("Dead letters")) == [reason.value for reason in Reason]


def test_the_settings_shown_load(tmp_path: Path) -> None:
    [shown] = blocks("toml")
    file = tmp_path / "sensord.toml"
    file.write_text(shown, encoding="utf-8")
    settings = load(file, environ={})
    assert settings.fleets["pumps"].topics == ("sensors.pumps",)
    assert load(file, environ={"SENSORD_KAFKA__BOOTSTRAP_SERVERS": "broker:1"}).kafka.bootstrap_servers == "broker:1"


def test_the_sinks_shown_load(tmp_path: Path) -> None:
    shown = blocks("ini")[1]
    file = tmp_path / "sensord.toml"
    file.write_text(shown, encoding="utf-8")
    sinks = load(file, environ={}).sinks
    assert {name: sink.kind for name, sink in sinks.items()} == {"ops": "webhook", "pager": "alertmanager"}


def test_the_mapping_shown_reads_the_message_beside_it(tmp_path: Path) -> None:
    shown = blocks("ini")[0]
    file = tmp_path / "sensord.toml"
    file.write_text(shown, encoding="utf-8")
    fleet = load(file, environ={}).fleets["pumps"]
    [message] = re.findall(r"# ({.*})$", shown, re.MULTILINE)
    decoded = decoder_of(fleet, ("temperature",)).decode(PUMPS, [Record(0, NOON_MS, None, message.encode())])
    assert (decoded.readings.device_ids, decoded.readings.values.tolist()) == (["7"], [[71.5]])
    assert decoded.readings.at.tolist() == [NOON_MS * 1_000]


def test_every_format_is_told() -> None:
    told = first_column(section("Your messages"))
    assert tuple(told) == get_args(FleetSettings.model_fields["decoder"].annotation)


def test_the_check_of_a_signature_that_is_shown_tells_who_has_the_key() -> None:
    [shown] = blocks("python")
    known: dict[str, Callable[..., bool]] = {}
    exec(shown, known)  # noqa: S102  # what readers are to copy
    headers = {"X-Sensord-Timestamp": "7", "X-Sensord-Signature": signature(b"key", "7", b"body")}
    assert known["is_from_sensord"](b"key", headers, b"body")
    assert not known["is_from_sensord"](b"another", headers, b"body")
    assert not known["is_from_sensord"](b"key", headers, b"another")


def test_the_table_of_settings_is_the_code_s() -> None:
    assert settings_table() in README, f"README.md should hold:\n\n{settings_table()}"


def test_the_table_of_metrics_is_the_code_s() -> None:
    assert metrics_table() in README, f"README.md should hold:\n\n{metrics_table()}"


def metrics_table() -> str:
    """Of all but what the client library counts of every process."""
    rows = ["| metric | labels | what it is |", "|---|---|---|"]
    every = [*Metrics().registry._collector_to_names, *NotifierMetrics().registry._collector_to_names]
    for metric in {each._name: each for each in every if isinstance(each, MetricWrapperBase)}.values():
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append(f"| `{name}` | {labels} | {metric._documentation} |")
    return "\n".join(rows)


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, group in groups():
        for key, field in group.model_fields.items():
            if key not in dict(within(group)):
                rows.append(f"| `{name}.{key}` | {_default(field)} | {field.description}{_choices(field)} |")
    return "\n".join(rows)


def groups() -> Iterator[tuple[str, type[Group]]]:
    for name, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Group):
            yield name, info.annotation
        else:
            yield f"{name}.NAME", (of_each := get_args(info.annotation)[1])
            yield from ((f"{name}.NAME.{key}", inner) for key, inner in within(of_each))


def within(group: type[Group]) -> Iterator[tuple[str, type[Group]]]:
    """Groups in a group."""
    for key, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            yield key, field.annotation


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value == {}:
        return "none"
    return f"`{value.get_secret_value() if isinstance(value, SecretStr) else value}`"


def _choices(field: FieldInfo) -> str:
    """The words that a setting may be, where there are several."""
    parts = [field.annotation, *get_args(field.annotation)]
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return f" One of {', '.join(f'`{word}`' for word in words)}." if len(words) > 1 else ""


# --- numbers and names -----------------------------------------------------------------------------------------------


def test_the_numbers_are_the_code_s() -> None:
    tuning, needs, pace, daemon = Tuning(), Needs(), Pace(), DaemonSettings()
    promised = [
        f"(span {tuning.smoothing:g} readings)",
        f"(span {tuning.baseline:g} readings)",
        f"{tuning.peak_share:g} of the device's recent peak",
        f"below {tuning.clear_share:g} of that limit",
        f"{tuning.open_after} anomalous readings in a row open",
        f"{tuning.close_after} calm readings in a row close",
        f"Beyond {tuning.critical:g} times the threshold",
        f"not scored for {tuning.warm_up} readings",
        f"lasted for {LONG} anomalous readings",
        f"the scores of the last {RING // 2} readings",
        f"every {AGAIN} readings after",
        f"at most {SPAN} readings ahead",
        f"in its first {tuning.warm_up} readings",
        f"padded to {WAVE} rows",
        f"{RING} readings around the opening",
        f"each device's last {RING} readings",
        f"For {tuning.dead_time} readings after that",
        f"by at most a factor of {tuning.adaptation_limit:g}",
        f"No reading for {FleetSettings(topics=('any',)).silent_periods:g} sampling periods",
        f"at least {needs.per_device} readings of a device and {needs.in_all} in all",
        f"A device with {OWN_PROFILE} or more",
        f"some {round(AT_ONCE, -3):,} devices or one partition at each",
        f"(a cosine of {SIMILAR:g} at least)",
        f"a peak of at most {GROWN:g} times as many thresholds, or {GROWN_ELSEWHERE:g} times where another",
        f"with {MARGIN} readings around",
        f"with {LEAD_IN:,} readings before it",
        f"of fewer than {SHORTEST} readings go with them",
        f"at least {FEWEST_FAULTS} planted faults",
        f"from about {READINGS_FOR_A_FAULT:,} readings on",
        f"the first {SKAB_HISTORY} rows of each file",
        f"({VALUE_LIMIT >> 10} KiB at most)",
        f"value is over {VALUE_LIMIT >> 10} KiB",
        f"key is over {KEY_LIMIT} bytes",
        f"first {PAYLOAD_LIMIT >> 10} KiB of the payload",
        f"the first {LETTERS_LIMIT} of them written down",
        f"1 to {DEVICE_ID_LIMIT} printable characters",
        f"tries again after {pace.retry_first_s:g} to {pace.retry_most_s:g} seconds",
        f"about {daemon.commit_interval_s:g} second after",
        f"state is written every {daemon.snapshot_interval_s:g} seconds",
        f"at most {daemon.snapshot_interval_s:g} seconds of replay",
        f"hangs for {daemon.watchdog_s:g} seconds",
        f"within {daemon.drain_timeout_s:g} seconds",
        f"waits for {KafkaSettings().session_timeout_s:g} seconds",
    ]
    flat = " ".join(README.split())
    assert [text for text in promised if text not in flat] == []


def test_every_exit_code_is_listed() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")} | {EXIT_INTERRUPTED}
    assert first_column(section("Exit codes"))[: len(codes)] == [str(code) for code in sorted(codes)]


def test_what_systemd_thinks_of_the_units_is_as_said() -> None:
    unit = ROOT / "deploy" / "systemd" / "sensord.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True, check=False
    )
    told = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert told
    assert f"rates what is left to the daemon at {told[1]} of 10" in README.replace("\n", " ")


def test_every_role_on_postgresql_is_listed() -> None:
    made = re.findall(r"^-- (sensord_\w+) ", (ROOT / "deploy" / "postgres" / "roles.sql").read_text(), re.MULTILINE)
    assert first_column(section("Rights on PostgreSQL")) == made


def test_the_kinds_that_count_as_one_pattern_are_named() -> None:
    [named] = re.findall(r"same kind \((.*?) count as one\)", " ".join(README.split()))
    assert set(re.findall(r"`(\w+)`", named)) == OF_LEVELS


def test_every_kind_of_alert_is_listed() -> None:
    assert {cell.strip("`") for cell in first_column(section("Kinds of alert"))} == set(Kind)
    calling = {each.kind for each in EVENT_CHANNELS} | {Kind.ANOMALY, *BESIDE_EPISODES}
    assert calling == set(Kind), "a kind that nothing calls"


# --- queries ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store_url: str) -> Iterator[Engine]:
    """A database in which every query of README.md finds something: alerts of pump-07 around 1 November."""
    engine = open_engine(store_url)
    upgrade(engine)
    progress = Progress(engine)
    claim = progress.claim("pumps", PUMPS, "test", "", NOVEMBER)
    rows = [
        alert(UUID(int=1), "pump-07", Status.OPEN, Severity.CRITICAL, NOVEMBER),
        alert(UUID(int=2), "pump-07", Status.CLOSED, Severity.WARNING, NOVEMBER - 1),
    ]
    changes = [AlertChange(row, is_new=True, events=("opened",)) for row in rows]
    letter = DeadLetter(PUMPS, 7, 0, Reason.MALFORMED, "not JSON", None, b"{", 0)
    progress.commit([Checkpoint("pumps", PUMPS, claim.epoch, claim.owner, None, 100, changes, [letter])], NOVEMBER)
    yield engine
    engine.dispose()


def found(engine: Engine, query: str) -> list[dict[str, object]]:
    with reading(engine) as connection:
        return [dict(row._mapping) for row in connection.exec_driver_sql(query)]


def test_the_queries_say_what_the_text_beside_them_says(filled: Engine) -> None:
    feedback(filled, str(UUID(int=1)), Feedback.REAL, "somebody", NOVEMBER)
    open_now, device, noisiest, blamed, judged, outbox, partitions, letters = (found(filled, q) for q in blocks("sql"))
    assert [(row["severity"], row["because_of"], row["times_the_limit"]) for row in open_now] == [
        ("critical", "vibration", 4.25)
    ]
    assert [row["severity"] for row in device] == ["critical", "warning"]
    assert [(row["device_id"], row["alerts"]) for row in noisiest] == [("pump-07", 1)]  # one is older than asked for
    assert [(row["channel"], row["alerts"]) for row in blamed] == [("vibration", 2)]
    assert [(row["alerts"], row["real_ones"], row["false_alarms"]) for row in judged] == [(2, 1, 0)]
    assert [(row["sequence"], row["event"]) for row in outbox] == [(1, "opened"), (2, "opened"), (3, "feedback")]
    assert [row["next_offset"] for row in partitions] == [100]
    assert [(row["reason"], row["letters"]) for row in letters] == [("malformed", 1)]


# --- the ten minutes -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_ten_minutes_lead_from_nothing_to_alerts(embedded_broker: str, tmp_path: Path) -> None:
    """Every step in order, as a new user would; only the trainer and the snapshots are made to hurry."""
    walk = Walk(tmp_path, embedded_broker)
    [shown] = blocks("toml")
    (tmp_path / "sensord.toml").write_text(shown, encoding="utf-8")
    said: dict[str, str] = {}
    steps = [line for block in blocks("sh") for line in block.splitlines()]
    with ExitStack() as stack:
        for line in steps:
            if line == "sensord run":
                daemon = stack.enter_context(walk.daemon())
                walk.wait_until_seen("SELECT sum(next_offset) FROM partition_progress", 120_000)
                walk.wait_until_seen("SELECT count(*) FROM devices", 20)
            else:
                said[line] = walk.run(line)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == errors.EXIT_OK
    assert "anomaly" in said["sensord alerts list --since 2026-11-02"]
    assert "pump-" in said["sensord devices list --limit 5"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_csv_of_one_s_own_leads_to_alerts_without_any_server(tmp_path: Path) -> None:
    walk = Walk(tmp_path, "127.0.0.1:1")
    [shown] = blocks("conf")
    (tmp_path / "sensord.toml").write_text(shown, encoding="utf-8")
    walk.run("sensord simulate --out pumps.csv --truth truth.json --devices 6")
    header, example = re.findall(r"```csv\n(Maschine.*)\n(.*)\n```", README)[0]
    wanted = header.split(";")
    assert len(example.split(";")) == len(wanted)
    with (tmp_path / "pumps.csv").open() as recorded, (tmp_path / "presses.csv").open("w") as own:
        own.write(header + "\n")
        for row in csv.DictReader(recorded):
            theirs = row | {"Maschine": row["device_id"], "Zeit": row["timestamp"], "Bediener": "anna"}
            own.write(";".join(theirs[name] for name in wanted) + "\n")
    said = {line: walk.run(line) for block in blocks("shell") for line in block.splitlines()}
    [listed] = [told for line, told in said.items() if line.startswith("sensord alerts list")]
    assert listed.count("anomaly") >= 4
    [replayed] = [told for line, told in said.items() if line.startswith("sensord replay")]
    assert replayed.count("anomaly") >= 4


def test_the_recipe_s_files_fit_together_and_read_what_telegraf_s_documentation_shows() -> None:
    folder = ROOT / "deploy" / "recipes"
    telegraf = tomllib.loads((folder / "telegraf.conf").read_text(encoding="utf-8"))
    fleet = load(folder / "sensord.toml", environ={}).fleets["presses"]
    [out] = telegraf["outputs"]["kafka"]
    assert (out["topic"],) == fleet.topics
    assert (out["data_format"], out["json_timestamp_units"]) == ("json", "1s")
    [machines] = telegraf["inputs"]["opcua"]
    assert all(out["routing_tag"] in node["default_tags"] for node in machines["nodes"])
    assert out["routing_tag"] == fleet.mapping.device
    channels = tuple(node["name"] for node in machines["nodes"])
    told = {"fields": dict.fromkeys(channels, 7.5), "name": "press", "tags": {"machine": "press-1"}}
    value = json.dumps(told | {"timestamp": NOON_MS // 1_000}).encode()
    decoded = decoder_of(fleet, channels).decode(PUMPS, [Record(0, NOON_MS, b"press-1", value)])
    assert (decoded.readings.device_ids, decoded.readings.values.tolist()) == (["press-1"], [[7.5, 7.5]])
    assert set(fleet.units) == set(channels)


class Walk:
    """Commands of the README in an empty folder."""

    def __init__(self, folder: Path, broker: str) -> None:
        self._folder = folder
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("SENSORD_")} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SENSORD_KAFKA__BOOTSTRAP_SERVERS": broker,
            "SENSORD_TRAINER__STEPS": "20",
            "SENSORD_DAEMON__SNAPSHOT_INTERVAL_S": "2",
        }

    def run(self, line: str) -> str:
        done = subprocess.run(
            shlex.split(line), cwd=self._folder, env=self._environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == errors.EXIT_OK, f"{line}: {done.stderr}"
        return done.stdout

    @contextmanager
    def daemon(self) -> Iterator["subprocess.Popen[bytes]"]:
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(["sensord", "run"], cwd=self._folder, env=self._environ, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def wait_until_seen(self, query: str, wanted: int) -> None:
        """Return once a query on the database gives a number. After five minutes the log says why not."""
        deadline = time.monotonic() + 300
        with closing(sqlite3.connect(self._folder / "sensord.db")) as connection:
            while (seen := connection.execute(query).fetchone()[0]) != wanted:
                assert time.monotonic() < deadline, (
                    f"{query} gives {seen}:\n{(self._folder / 'log').read_text()[-2000:]}"
                )
                time.sleep(0.1)
