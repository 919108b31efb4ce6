"""Rules, dashboard and metrics are what Prometheus understands, ask for what there is, and say what to do."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from sensord.detection.alerts import EVENTS, Kind
from sensord.metrics import Metrics, NotifierMetrics
from sensord.notify.dispatch import OUTCOMES
from sensord.stream.dead_letters import Reason
from tests.conftest import missing
from tests.deploy.alert_cases import ALSO, AT, HARMLESS, HEALTHY, ILL, PATIENCE
from tests.services import ServerUnavailable, promtool
from tests.test_metrics import busy
from tests.test_readme import parse

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
RUNBOOK = (DEPLOY / "prometheus" / "runbook.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((DEPLOY / "grafana" / "sensord.json").read_text(encoding="utf-8"))
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
OTHERS = {"up", "ALERTS", "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
ADDED = {"job", "instance", "le"}  # labels that Prometheus or a histogram brings


@pytest.fixture(scope="module")
def tool() -> Path:
    try:
        return promtool.fetched()
    except ServerUnavailable as error:
        missing(str(error))


def every_metric() -> Mapping[str, tuple[str, ...]]:
    return {**Metrics().catalogue(), **NotifierMetrics().catalogue()}


def run(tool: Path, *arguments: str | Path, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    command = [str(tool), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, timeout=300, check=False)


def panels() -> Iterator[dict[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield {"title": panel["title"], "expr": target["expr"], "legend": target["legendFormat"]}


def asked() -> dict[str, str]:
    """Every expression, by where it stands."""
    found = {name: rule["expr"] for name, rule in (ALERTS | RECORDED).items()}
    return found | {f"{panel['title']}, {number}": panel["expr"] for number, panel in enumerate(panels())}


# --- what Prometheus understands -------------------------------------------------------------------------------------


def test_prometheus_understands_the_rules(tool: Path) -> None:
    done = run(tool, "check", "rules", RULES)
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS) + len(RECORDED)} rules found".encode() in done.stdout


def test_a_rule_that_it_does_not_understand_would_be_noticed(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.read_text().replace("sum by (fleet, outcome)", "sum bye (fleet)", 1))
    assert run(tool, "check", "rules", tmp_path / "rules.yaml").returncode != 0


def test_prometheus_has_nothing_against_the_metrics(tool: Path) -> None:
    metrics = busy()
    metrics.expects(["pumps", "fans"], tuple(Kind), EVENTS, tuple(Reason))
    notifier = NotifierMetrics()
    notifier.expects(["ops"], OUTCOMES)
    notifier.waits("ops", 3, 7.0)
    for told in (metrics, notifier):
        done = run(tool, "check", "metrics", given=told.exposition())
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_prometheus_understands_the_dashboard(tool: Path, tmp_path: Path) -> None:
    known = {"$fleet": ".*", "$instance": ".*"}
    rules = []
    for number, panel in enumerate(panels()):
        expr = panel["expr"]
        for name, value in known.items():
            expr = expr.replace(name, value)
        assert "$" not in expr, panel
        rules.append({"record": f"panel:{number}", "expr": expr})
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run(tool, "check", "rules", file)
    assert done.returncode == 0, done.stderr


# --- what fires ------------------------------------------------------------------------------------------------------


def _pending(alert: str) -> dict[str, object]:
    """That it was looked at for as many minutes as its patience says before it fired."""
    minutes = PATIENCE.get(alert)
    return {
        "expr": f'sum(count_over_time(ALERTS{{alertname="{alert}",alertstate="pending"}}[{AT}]))',
        "eval_time": AT,
        "exp_samples": [] if minutes is None else [{"labels": "{}", "value": minutes}],
    }


def objections(tool: Path, folder: Path, cases: Mapping[str, tuple[Mapping[str, str], list[str]]]) -> str:
    """What promtool has against these cases: series, and the alerts that fire after their patience, all others silent;
    "" where nothing."""
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": AT,
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in fires],
                },
                *(_pending(alert) for alert in fires),
            ],
        }
        for name, (given, fires) in cases.items()
    ]
    file = folder / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = run(tool, "test", "rules", file)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).decode()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_each_alert_fires_for_what_it_is_for_and_for_nothing_else(tool: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[Mapping[str, str], list[str]]] = {"healthy": (HEALTHY, [])}
    cases |= {name: (HEALTHY | wrong, [name]) for name, wrong in ILL.items()}
    cases |= {f"{name}, also": (HEALTHY | wrong, [name]) for name, wrong in ALSO.items()}
    cases |= {name: (HEALTHY | close, []) for name, close in HARMLESS.items()}
    cases["nobody is there"] = ({}, ["SensordDown"])
    assert objections(tool, tmp_path, cases) == ""


def test_an_alert_that_does_not_wait_would_be_noticed(
    tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hasty.yaml").write_text(re.sub(r"\n +for: \w+", "", RULES.read_text()))
    monkeypatch.setattr("tests.deploy.test_prometheus.RULES", tmp_path / "hasty.yaml")
    assert "pending" in objections(tool, tmp_path, {"held": (HEALTHY | ILL["SensordHeld"], ["SensordHeld"])})


def test_an_alert_that_stays_silent_would_be_noticed(tool: Path, tmp_path: Path) -> None:
    assert "SensordHeld" in objections(tool, tmp_path, {"held": (HEALTHY, ["SensordHeld"])})


def test_every_alert_is_tried() -> None:
    assert ILL.keys() == ALERTS.keys()


# --- what there is ---------------------------------------------------------------------------------------------------


def strange(expr: str, catalogue: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Names in an expression that are no metric, and labels that none of its metrics has."""
    plain = re.sub(r'"[^"]*"', '""', expr)
    names = set(re.findall(r"\b(sensord[a-z0-9_:]+|up|process_\w+|ALERTS)\b", plain))
    found, labels = [], set(ADDED)
    for name in names:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if name in RECORDED:
            labels |= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", RECORDED[name]["expr"]))))
        elif name in catalogue or base in catalogue:
            labels |= set(catalogue.get(name, catalogue.get(base, ())))
        elif name not in OTHERS:
            found.append(name)
    used = set(re.findall(r"(\w+)\s*(?:=~?|!=|!~)\s*\"", plain))
    used |= set(re.findall(r"\w+", " ".join(re.findall(r"(?:by|on) \(([^)]*)\)", plain))))
    return sorted([*found, *(used - labels)])


@pytest.mark.parametrize("where", sorted(asked()))
def test_only_what_there_is_is_asked_for(where: str) -> None:
    assert strange(asked()[where], every_metric()) == []


def test_a_misspelt_metric_or_label_would_be_noticed() -> None:
    catalogue = every_metric()
    assert strange("sum by (flet) (sensord_devices)", catalogue) == ["flet"]
    assert strange('sensord_devicez{fleet="pumps"}', catalogue) == ["fleet", "sensord_devicez"]


def test_legends_and_texts_name_labels_that_are_there() -> None:
    for panel in panels():
        for label in re.findall(r"{{(\w+)}}", panel["legend"]):
            assert re.search(rf"\b{label}\b", panel["expr"]) or label == "instance", panel
    for name, rule in ALERTS.items():
        texts = " ".join(rule["annotations"].values())
        for label in re.findall(r"\$labels\.(\w+)", texts):
            known = re.search(rf"by \([^)]*\b{label}\b", rule["expr"]) or " by " not in rule["expr"]
            recorded = any(record in rule["expr"] for record in RECORDED)
            assert known or recorded, (name, label)


def test_every_metric_of_the_fleets_is_on_the_dashboard_or_in_a_rule() -> None:
    everything = " ".join(asked().values())
    unused = [name for name in every_metric() if name not in everything and not name.endswith("_info")]
    spare = {
        "sensord_polls_total",
        "sensord_polled_records_total",
        "sensord_last_snapshot_timestamp_seconds",
        "sensord_skipped_total",
    }
    assert set(unused) == spare | {"sensord_snapshot_seconds", "sensord_commit_partitions"}


# --- what to do ------------------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    parts = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].strip(): part for part in parts}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    assert sections().keys() == ALERTS.keys()
    for name, rule in ALERTS.items():
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        for heading in ("**Means:**", "**Look:**", "**Mend:**"):
            assert heading in sections()[name], name


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(sensord [a-z][^`]*)`", RUNBOOK))))
def test_every_command_of_the_runbook_exists(line: str) -> None:
    parse(line, whole=False)


def test_counters_of_a_fleet_begin_at_zero() -> None:
    """Prometheus would not see the first increase of one that appears with 1."""
    metrics = Metrics()
    metrics.expects(["pumps"], tuple(Kind), EVENTS, tuple(Reason))
    for name in ("gaps", "evicted_devices", "refused_bundles", "rolled_back_bundles", "swaps"):
        assert metrics.registry.get_sample_value(f"sensord_{name}_total", {"fleet": "pumps"}) == 0.0
    for reason in Reason:
        labels = {"fleet": "pumps", "reason": reason.value}
        assert metrics.registry.get_sample_value("sensord_dead_letters_total", labels) == 0.0
    opened = {"fleet": "pumps", "kind": "drift", "event": "opened"}
    assert metrics.registry.get_sample_value("sensord_alerts_total", opened) == 0.0
