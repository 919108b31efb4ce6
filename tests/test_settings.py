"""Promises of the settings: precedence, refusal of what is unknown, and secrets that stay out of sight."""

from pathlib import Path
from typing import get_args

import pytest

from sensord.errors import SettingsInvalid
from sensord.settings import Settings, load, load_with_origins, sources

SECRET = "hunter2-of-the-sea"  # noqa: S105


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No files of this machine: an empty working directory, /etc and /run elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "ETC", tmp_path / "etc")
    monkeypatch.setattr(sources, "SECRETS", tmp_path / "run")


def config(folder: Path, text: str, name: str = "sensord.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(file: Path | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        load(file, environ or {})
    assert caught.value.__cause__ is None or SECRET not in str(caught.value.__cause__)
    return str(caught.value)


def test_without_any_source_the_defaults_hold() -> None:
    assert load(environ={}) == Settings()


def test_flags_beat_environment_beats_secrets_beat_files_beat_defaults(tmp_path: Path) -> None:
    names = ["client_id", "group_id", "sasl_username", "bootstrap_servers"]
    file = config(tmp_path, "[kafka]\nsecurity_protocol='SASL_SSL'\nsasl_mechanism='PLAIN'\n")
    with file.open("a") as more:
        more.writelines(f"{name} = 'file:1'\n" for name in names)
    for name in names[:3]:
        config(tmp_path, f"secret-{name}\n", f"credentials/kafka__{name}")
    config(tmp_path, SECRET, "credentials/kafka__sasl_password")
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        "SENSORD_KAFKA__CLIENT_ID": "variable",
        "SENSORD_KAFKA__GROUP_ID": "variable",
    }
    loaded = load_with_origins(None, environ, {"kafka.client_id": "flag", "kafka.group_id": None})
    kafka = loaded.settings.kafka
    assert [kafka.client_id, kafka.group_id, kafka.sasl_username, kafka.bootstrap_servers, kafka.max_poll_records] == [
        "flag",
        "variable",
        "secret-sasl_username",
        "file:1",
        5_000,
    ]
    origins = {key: origin for key, _, origin in loaded.entries()}
    assert [origins[f"kafka.{name}"] for name in (*names, "max_poll_records")] == [
        "command line",
        "SENSORD_KAFKA__GROUP_ID",
        str(tmp_path / "credentials" / "kafka__sasl_username"),
        "sensord.toml",
        "default",
    ]


def test_the_named_file_beats_the_installed_which_beat_the_local(tmp_path: Path) -> None:
    def group_id(text: str) -> str:
        return f"[kafka]\ngroup_id = '{text}'\n"

    config(tmp_path, group_id("local"))
    assert load(environ={}).kafka.group_id == "local"
    config(tmp_path, group_id("installed") + "client_id = 'kept'\n", "etc/sensord.toml")
    config(tmp_path, group_id("ten"), "etc/conf.d/10.toml")
    config(tmp_path, group_id("twenty"), "etc/conf.d/20.toml")
    assert (load(environ={}).kafka.group_id, load(environ={}).kafka.client_id) == ("twenty", "kept")
    named = config(tmp_path, group_id("variable"), "named.toml")
    assert load(environ={"SENSORD_CONFIG": str(named)}).kafka.group_id == "variable"
    flag = config(tmp_path, group_id("flag"), "flag.toml")
    assert load(flag, {"SENSORD_CONFIG": str(named)}).kafka.group_id == "flag"


def test_fleets_can_be_given_in_the_environment() -> None:
    environ = {"SENSORD_FLEETS__PUMPS__TOPICS": '["a", "b"]', "SENSORD_FLEETS__PUMPS__UNITS": '{"temperature": "°C"}'}
    fleet = load(environ=environ).fleets["pumps"]
    assert (fleet.topics, fleet.units) == (("a", "b"), {"temperature": "°C"})


def test_a_whole_group_can_be_given_as_json_and_refined_by_one_variable() -> None:
    environ = {"SENSORD_KAFKA": '{"group_id": "a", "client_id": "a"}', "SENSORD_KAFKA__CLIENT_ID": "b"}
    loaded = load_with_origins(environ=environ)
    assert (loaded.settings.kafka.group_id, loaded.settings.kafka.client_id) == ("a", "b")
    assert loaded.origins == {"kafka.group_id": "SENSORD_KAFKA", "kafka.client_id": "SENSORD_KAFKA__CLIENT_ID"}


def test_a_list_that_is_not_json_is_named_with_its_variable_and_shown_how() -> None:
    text = refusal(environ={"SENSORD_FLEETS__PUMPS__TOPICS": "a,b"})
    assert "fleets.pumps.topics (SENSORD_FLEETS__PUMPS__TOPICS)" in text
    assert '["a", "b"]' in text


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[kafka]\nbootstrap_server = 'a:1'", "kafka.bootstrap_server ", "kafka.bootstrap_servers"),
        ("[fleets.pumps]\ntopics = ['a']\nalarm_buget = 1", "fleets.pumps.alarm_buget ", "fleets.pumps.alarm_budget"),
        ("[kafak]\ngroup_id = 'a'", "kafak ", "kafka"),
        ("group_id = 'a'", "group_id ", "kafka.group_id"),
    ],
)
def test_an_unknown_key_in_a_file_is_refused_with_the_nearest(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    refused = refusal(config(tmp_path, text))
    assert refused.startswith(key)
    assert "sensord.toml" in refused
    assert refused.endswith(f"unknown setting; the nearest is {nearest}")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SENSORD_KAFKA__BOOTSTRAP_SERVER", "SENSORD_KAFKA__BOOTSTRAP_SERVERS"),
        ("SENSORD_KAFKA_BOOTSTRAP_SERVERS", "SENSORD_KAFKA__BOOTSTRAP_SERVERS"),
        ("SENSORD_STORE_URL", "SENSORD_STORE__URL"),
        ("SENSORD_FLEETS__PUMPS__TOPIC", "SENSORD_FLEETS__PUMPS__TOPICS"),
        ("SENSORD_LOG__LEVLE", "SENSORD_LOG__LEVEL"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    assert any(
        name in line and line.endswith(f"the nearest is {nearest}") for line in refusal(environ={name: "x"}).split("\n")
    )


def test_variables_that_kubernetes_injects_are_refused_with_the_remedy() -> None:
    environ = {
        "SENSORD_PORT": "tcp://10.0.0.1:80",
        "SENSORD_SERVICE_HOST": "10.0.0.1",
        "SENSORD_PORT_80_TCP_ADDR": "10.0.0.1",
        "SENSORD_HTTP_SERVICE_PORT_METRICS": "80",
    }
    (line,) = refusal(environ=environ).split("\n")
    assert "enableServiceLinks: false" in line
    assert all(name in line for name in environ)


def test_variables_of_the_tests_and_of_others_are_left_alone() -> None:
    assert load(environ={"SENSORD_TEST_KAFKA": "a:1", "SENSORDX": "1", "HOME": "/"}) == Settings()


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    file = config(tmp_path, "[kafka]\ngruop_id = 'a'\n[log]\nlevel = 'loud'\n[fleets.pumps]\ntopics = []\n")
    lines = refusal(file, {"SENSORD_SOTRE__URL": "x", "SENSORD_DAEMON__WATCHDOG_S": "soon"}).split("\n")
    for name in ("SENSORD_SOTRE__URL", "kafka.gruop_id", "log.level", "fleets.pumps.topics", "daemon.watchdog_s"):
        assert [line for line in lines if line.startswith(name)], name


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[fleets.a]\ntopics = ['t']\n[fleets.b]\ntopics = ['t']", ["fleets a and b", "topic t"]),
        ("[fleets.a]\ntopics = ['t', 't']", ["fleets.a", "topics names t twice"]),
        ("[fleets.a]\ntopics = ['t']\nchannels = ['x']\nunits = {y = 'mm'}", ["fleets.a", "units names y"]),
        ("[fleets.a]\ntopics = ['no blanks']", ["fleets.a.topics.0"]),
        ("[fleets.A]\ntopics = ['t']", ["fleets.A"]),
        ("[fleets.a]\ntopics = ['t']\nalarm_budget = nan", ["fleets.a.alarm_budget"]),
        ("[daemon]\ncommit_interval_s = 60", ["daemon", "snapshot_interval_s"]),
        ("[daemon]\npoll_timeout_s = 8\nwatchdog_s = 10", ["daemon", "watchdog_s"]),
        ("[kafka]\nbootstrap_servers = 'localhost'", ["kafka.bootstrap_servers", "host:port"]),
        ("[kafka]\nsasl_username = 'me'", ["sasl_username", "security_protocol"]),
        ("[kafka]\nsecurity_protocol = 'SASL_SSL'\nsasl_username = 'me'", ["sasl_mechanism, sasl_password"]),
        ("[kafka]\nsecurity_protocol = 'SSL'\nssl_cafile = 'none.pem'", ["kafka.ssl_cafile"]),
        ("[store]\nurl = 'mysql://a/b'", ["store.url", "postgresql://"]),
        ("[store]\nurl = 'postgresql://a@b'", ["store.url", "postgresql://"]),
        ("[kafka\n", ["not TOML", "line 1"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, text: str, names: list[str]) -> None:
    refused = refusal(config(tmp_path, text))
    assert all(name in refused for name in names), refused


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml").startswith(f"{tmp_path / 'none.toml'}: can't be read")


def with_secrets() -> dict[str, str]:
    return {
        "SENSORD_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "SENSORD_KAFKA__SASL_MECHANISM": "PLAIN",
        "SENSORD_KAFKA__SASL_USERNAME": "me",
        "SENSORD_KAFKA__SASL_PASSWORD": SECRET,
        "SENSORD_STORE__URL": f"postgresql://me:{SECRET}@db:5432/sensord?sslmode=require",
    }


def test_secrets_are_shown_nowhere() -> None:
    loaded = load_with_origins(environ=with_secrets())
    shown = [repr(loaded), str(loaded.settings), *map(str, loaded.entries()), loaded.settings.model_dump_json()]
    assert not [text for text in shown if SECRET in text]
    assert loaded.settings.store.place == "postgresql://me@db:5432/sensord"
    assert SECRET in loaded.settings.secrets()


def test_the_file_of_a_database_is_shown_as_it_was_given() -> None:
    for url in ("sqlite:///here.db", "sqlite:////var/lib/sensord/there.db"):
        assert load(environ={"SENSORD_STORE__URL": url}).store.place == url


@pytest.mark.parametrize(
    "url",
    [
        f"oracle://me:{SECRET}@db/sensord",
        f"postgresql://me:{SECRET}@db:port/sensord",
        f"postgresql://me:{SECRET}@[db/sensord",
        f"postgresql://me:/{SECRET}@db/sensord",
        f"postgresql://me:#{SECRET}@db/sensord",
        f"postgresql://me@db/sensord?password={SECRET}",
        f"postgresql://me:{SECRET}:{SECRET}@db:{SECRET}/sensord",
        SECRET,
    ],
)
def test_a_refused_url_is_not_quoted(url: str) -> None:
    environ = with_secrets() | {
        "SENSORD_STORE__URL": url,
        "SENSORD_KAFKA__SASL_MECHANISM": SECRET,
        "SENSORD_LOG": SECRET,
    }
    refused = refusal(environ=environ)
    assert "store.url (SENSORD_STORE__URL)" in refused
    assert SECRET not in refused


def test_the_password_of_the_database_can_stand_apart_and_hold_any_character() -> None:
    environ = {"SENSORD_STORE__URL": "postgresql://me@db/sensord", "SENSORD_STORE__PASSWORD": "p@ss/w:rd"}
    store = load(environ=environ).store
    assert store.full_url == "postgresql+psycopg://me:p%40ss%2Fw%3Ard@db/sensord"
    assert store.place == "postgresql://me@db/sensord"


def test_every_setting_says_what_it_is() -> None:
    groups = [info.annotation for info in Settings.model_fields.values()]
    for group in (get_args(each)[1] if get_args(each) else each for each in groups):
        assert isinstance(group, type)
        undocumented = [name for name, info in group.model_fields.items() if not info.description]  # type: ignore[attr-defined]
        assert not undocumented
