"""`sensord notify` as people run it: told once it is there, kill after kill, by one process at a time."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from sqlalchemy import Engine, make_url

from sensord.errors import EXIT_FAILURE, EXIT_NEEDS_A_PERSON
from sensord.store.database import open_engine, upgrade
from tests.end_to_end.plant import DaemonProcess, wait_for
from tests.notify.receiver import Receiver, receiver
from tests.notify.rows import NOISE, Plant

pytestmark = pytest.mark.slow
KEY = "canary-of-the-hook-1"


class Site:
    """Settings with one webhook, and the command that tells it."""

    def __init__(self, folder: Path, engine: Engine, hook: Receiver) -> None:
        self.folder, self.hook, self.plant = folder, hook, Plant(engine)
        self.settings = folder / "sensord.toml"
        url = make_url(engine.url).set(drivername=engine.url.get_backend_name()).render_as_string(hide_password=False)
        self.settings.write_text(
            f"""
store.url = "{url}"
notify = {{group_wait_s = 0, forget_s = 1e9, port = 0}}
[sinks.ops]
kind = "webhook"
url = "{hook.url}"
secret = "{KEY}"
"""
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "sensord", "--config", str(self.settings), *arguments]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60, check=False)

    @contextmanager
    def notifier(self) -> Iterator[DaemonProcess]:
        log = self.folder / f"notify-{len(list(self.folder.glob('notify-*')))}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self.command("notify"), stdout=stream, stderr=stream, env=os.environ | {"PYTHONUNBUFFERED": "1"}
            )
            try:
                yield DaemonProcess(process, log)
            finally:
                process.kill()
                process.wait()

    def told(self) -> list[str]:
        """Every notice once: one that is sent again, since its sender died before it noted it, has its old key."""
        told = [json.loads(one.body)["sensord"] for one in self.hook.got]
        return list({one["key"]: one["notice"] for one in told}.values())


@contextmanager
def made(url: str, folder: Path) -> Iterator[Site]:
    engine = open_engine(url)
    upgrade(engine)
    with receiver() as hook:
        yield Site(folder, engine, hook)
    engine.dispose()


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    with made(sqlite_url, tmp_path) as one:
        yield one


@pytest.fixture
def site_of_each(store_url: str, tmp_path: Path) -> Iterator[Site]:
    with made(store_url, tmp_path) as one:
        yield one


def test_a_webhook_is_told_through_kills_and_a_second_process_stands_by(site_of_each: Site) -> None:
    site = site_of_each
    assert site.run("notify", "--once").returncode == 0
    with site.notifier() as first:
        wait_for(lambda: "telling" in first.log, [first], "it leads")
        site.plant.opens("pump-1")
        wait_for(lambda: site.told() == ["opened"], [first], "the first notice")
        with site.notifier() as second:
            first.kill()
            site.plant.closes("pump-1")
            wait_for(lambda: site.told() == ["opened", "resolved"], [second], "the second one has taken over")
            second.process.send_signal(signal.SIGTERM)
            assert second.ended(20) == 0
            assert KEY not in first.log + second.log
            assert "s3cret" not in first.log + second.log
    site.plant.opens("pump-2", NOISE)
    assert site.run("notify", "--once").returncode == 0
    assert site.told() == ["opened", "resolved", "opened"]


def test_a_topic_whose_kafka_is_away_keeps_no_other_sink_waiting_and_its_metrics_say_so(site: Site) -> None:
    settings = site.settings.read_text()
    topic = '[sinks.log]\nkind = "kafka"\ntopic = "alerts"\ntimeout_s = 1\n'
    site.settings.write_text(settings + topic + '[kafka]\nbootstrap_servers = "127.0.0.1:1"\n')
    with site.notifier() as running:
        wait_for(lambda: "telling" in running.log, [running], "it leads")
        site.plant.opens("pump-1")
        wait_for(lambda: site.told() == ["opened"], [running], "the other sink is told")
        wait_for(lambda: "not taken" in running.log, [running], "the topic was tried")
        [port] = re.findall(r'"port": ?(\d+)', running.log)

        def says(path: str) -> str:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())

        assert (says("/livez"), says("/readyz")) == ("alive\n", "ready\n")
        told = says("/metrics")
        assert "sensord_notifier_leads 1.0" in told
        assert 'sensord_notices_waiting{sink="log"} 1.0' in told
        assert 'sensord_notices_total{outcome="delivered",sink="ops"} 1.0' in told
        running.process.send_signal(signal.SIGTERM)
        assert running.ended(20) == 0


def test_once_says_by_its_exit_code_that_something_is_left(site: Site) -> None:
    assert site.run("notify", "--once").returncode == 0
    site.plant.opens("pump-1")
    site.hook.plan[:] = [503]
    assert site.run("notify", "--once").returncode == EXIT_FAILURE
    assert "waiting" in site.run("notices", "list").stdout
    assert site.run("notify", "--once").returncode == 0
    listed = json.loads(site.run("notices", "list", "--format", "json").stdout)
    assert [(row["sink"], row["notice"], row["outcome"]) for row in listed] == [("ops", "opened", "delivered")]
    assert site.run("incidents", "list").stdout.count("pumps") == 1
    assert "pump-1: anomaly, 1.3 times its limit" in site.run("incidents", "show", "1").stdout


def test_a_sink_can_be_tried(site: Site) -> None:
    assert site.run("notify", "--test", "ops").stdout == "ops: taken\n"
    site.hook.plan[:] = [404]
    ended = site.run("notify", "--test", "ops")
    assert (ended.returncode, ended.stderr) == (EXIT_FAILURE, "ops: 404: ok\n")
    ended = site.run("notify", "--test", "opps")
    assert "there are: ops" in ended.stderr


def test_without_a_sink_the_settings_that_are_missing_are_told(site: Site) -> None:
    site.settings.write_text("")
    ended = site.run("notify")
    assert ended.returncode == EXIT_NEEDS_A_PERSON
    assert "add [sinks.NAME]" in ended.stderr
