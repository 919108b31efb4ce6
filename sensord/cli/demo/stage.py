"""Where the demo plays: a fresh folder, its settings and its files. Used by every other module of the demo."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from sensord.settings import KafkaSettings, StoreSettings

CHECKOUT = Path(__file__).parents[3]
SCRIPTS = CHECKOUT / "scripts"
FLEET = "pumps"
PARTITIONS = 4
MARK = ".sensord-demo"  # what tells a folder of ours from one that holds somebody's work


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's folder; commands run in it, so that they can be run there again by hand."""

    folder: Path

    recording = "pumps.jsonl.zst"
    truth = "truth.json"
    live = "live.jsonl.zst"
    settings = "sensord.toml"
    database = "sensord.db"
    daemon_log = "daemon.log"
    broker_log = "broker.log"
    report = "report.html"

    def path(self, name: str) -> Path:
        """A file of the demo."""
        return self.folder / name

    def clear(self) -> None:
        """Make the folder, empty but for a mark. Raises UsageError where it holds what no demo has left there."""
        if self.folder.exists() and not self.path(MARK).exists() and any(self.folder.iterdir()):
            raise click.UsageError(f"--out {self.folder}: holds other files; name a folder that is empty or not there")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        self.path(MARK).touch()

    def configure(self, kafka: KafkaSettings, topic: str, units: dict[str, str]) -> None:
        """Write the settings that all commands find."""
        listed = ", ".join(f"{name} = {json.dumps(unit, ensure_ascii=False)}" for name, unit in units.items())
        self.path(self.settings).write_text(
            f"[kafka]\n"
            f"bootstrap_servers = {json.dumps(kafka.bootstrap_servers)}\n"
            f"group_id = {json.dumps(kafka.group_id)}\n\n"
            f"[store]\n"
            f'url = "sqlite:///{self.database}"\n\n'
            f"[fleets.{FLEET}]\n"
            f"topics = [{json.dumps(topic)}]\n"
            f"units = {{{listed}}}\n",
            encoding="utf-8",
        )

    def store(self) -> StoreSettings:
        """The demo's database, for this process, which works elsewhere than in the folder."""
        return StoreSettings.model_validate({"url": f"sqlite:///{self.path(self.database).absolute()}"})

    def environment(self) -> dict[str, str]:
        """For commands: nobody else's settings, nothing but the folder's."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENSORD_")}
        return inherited | {"SENSORD_CONFIG": self.settings}
