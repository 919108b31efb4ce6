"""The chart and the kustomization make what Kubernetes takes, old and new, and what sensord understands."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sensord import __version__
from sensord.daemon.policy import Pace
from sensord.settings import DaemonSettings, load
from tests.conftest import missing
from tests.deploy.test_prometheus import GROUPS
from tests.services import ServerUnavailable, kubernetes
from tests.test_readme import parse

ROOT = Path(__file__).parents[2]
CHART, KUSTOMIZE = ROOT / "deploy" / "helm" / "sensord", ROOT / "deploy" / "kustomize"
CUSTOM = ("monitoring.coreos.com/", "keda.sh/")
Manifest = dict[str, Any]

PUMPS = {"topics": ["sensors.pumps"]}
VALUES: dict[str, Mapping[str, Any]] = {
    "one fleet": {"config": {"fleets": {"pumps": PUMPS}}},
    "minimal": {
        "config": {"fleets": {"pumps": PUMPS}},
        "trainer": {"enabled": False},
        "migration": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
    },
    "everything": {
        "image": {"repository": "registry.example/sensord", "tag": "1.2.3", "pullSecrets": ["pull"]},
        "config": {
            "kafka": {"bootstrap_servers": "kafka:9093", "security_protocol": "SSL"},
            "fleets": {"pumps": {**PUMPS, "max_gap_s": 60, "channels": ["heat"]}, "line_ups": {"topics": ["a", "b"]}},
            "daemon": {"commit_interval_s": 2},
            "sinks": {"ops": {"kind": "webhook", "url": "https://ops.example/hook"}},
        },
        "notify": {"enabled": True, "storeUrl": "postgresql://notifier@db/sensord", "existingSecret": "notifier"},
        "web": {"enabled": True, "storeUrl": "postgresql://operator@db/sensord", "existingSecret": "operator"},
        "trainer": {"storeUrl": "postgresql://trainer@db/sensord", "existingSecret": "trainer"},
        "existingSecret": "passwords",
        "daemon": {
            "replicas": 3,
            "workers": 2,
            "env": [{"name": "SENSORD_LOG__LEVEL", "value": "debug"}],
            "annotations": {"a": "b"},
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
        },
        "migration": {"storeUrl": "postgresql://owner@postgresql/sensord", "existingSecret": "owner"},
        "networkPolicy": {
            "enabled": True,
            "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "egress": [{"ports": [{"port": 9093}]}],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "keda": {"enabled": True, "lagThreshold": 2_000_000},
    },
}
MISTAKES: dict[str, tuple[Mapping[str, Any], str]] = {
    "misspelt": ({"deamon": {}}, "deamon"),
    "misspelt within": ({"daemon": {"replica": 1}}, "replica"),
    "misspelt group of settings": ({"config": {"kafkas": {}}}, "kafkas"),
    "password in the open": ({"config": {"store": {"password": "x"}}}, "store"),
    "key in the open": ({"config": {"sinks": {"ops": {"kind": "webhook", "secret": "x"}}}}, "ops"),
    "fleet without topics": ({"config": {"fleets": {"pumps": {}}}}, "topics"),
    "wrong kind": ({"daemon": {"replicas": "two"}}, "replicas"),
    "too short for a drain": ({"daemon": {"terminationGracePeriodSeconds": 5}}, "terminationGracePeriodSeconds"),
    "shorter than the drain": ({"config": {"daemon": {"drain_timeout_s": 26}}}, "terminationGracePeriodSeconds to 31"),
}


@pytest.fixture(scope="module")
def tools() -> kubernetes.Tools:
    try:
        return kubernetes.fetched()
    except ServerUnavailable as error:
        missing(str(error))


@dataclass
class Chart:
    """helm, on this chart."""

    tools: kubernetes.Tools
    folder: Path
    made: dict[str, list[Manifest]]

    def run(self, *arguments: str | Path, values: Mapping[str, Any]) -> "subprocess.CompletedProcess[str]":
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        command = [str(self.tools.helm), *map(str, arguments), "--values", str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def render(self, name: str) -> list[Manifest]:
        """What it makes of a set of values."""
        if name not in self.made:
            done = self.run("template", "watch", CHART, "--namespace", "machines", values=VALUES[name])
            assert done.returncode == 0, done.stderr
            self.made[name] = manifests(done.stdout)
        return self.made[name]


@pytest.fixture(scope="module")
def chart(tools: kubernetes.Tools, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(tools, tmp_path_factory.mktemp("values"), {})


@pytest.fixture(scope="module")
def kustomized(tools: kubernetes.Tools) -> dict[str, list[Manifest]]:
    """What the base and the example make."""
    found = {}
    for name in ("base", "overlays/example"):
        command = [str(tools.kubectl), "kustomize", str(KUSTOMIZE / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        found[name] = manifests(done.stdout)
    return found


def manifests(text: str) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(text) if one]


@pytest.fixture(params=[*VALUES, "base", "overlays/example"])
def made(request: pytest.FixtureRequest, chart: Chart, kustomized: dict[str, list[Manifest]]) -> list[Manifest]:
    """Each thing that is made."""
    return chart.render(request.param) if request.param in VALUES else kustomized[request.param]


def of_kind(made: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in made if one["kind"] == kind]


def pods(made: list[Manifest]) -> Iterator[Manifest]:
    """The spec of every pod."""
    for one in made:
        spec = one.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield template["spec"]


# --- what Kubernetes takes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", VALUES)
def test_helm_has_nothing_against_the_chart(chart: Chart, values: str) -> None:
    done = chart.run("lint", "--strict", CHART, values=VALUES[values])
    assert done.returncode == 0, done.stdout


def test_the_oldest_and_the_newest_kubernetes_take_all_of_it(made: list[Manifest]) -> None:
    versions = known_versions()
    oldest = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    assert oldest == f">={versions[0]}.0-0"
    for version in (versions[0], versions[-1]):
        for one in made:
            if not one["apiVersion"].startswith(CUSTOM):
                kubernetes_validate.validate(one, version, strict=True)


def known_versions() -> list[str]:
    """Versions of Kubernetes whose schemas are there, the oldest first."""
    schemas = Path(kubernetes_validate.__file__).with_name("kubernetes-json-schema")
    minors = sorted(int(match[1]) for path in schemas.iterdir() if (match := re.match(r"v1\.(\d+)\.", path.name)))
    return [f"1.{minor}" for minor in dict.fromkeys(minors)]


def test_a_field_that_kubernetes_does_not_know_would_be_noticed(chart: Chart) -> None:
    [daemon] = of_kind(deepcopy(chart.render("one fleet")), "StatefulSet")
    daemon["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(daemon, "1.37", strict=True)


def test_custom_resources_are_what_their_models_say(chart: Chart) -> None:
    custom = [one for one in chart.render("everything") if one["apiVersion"].startswith(CUSTOM)]
    assert {one["kind"] for one in custom} == {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
    assert modelled(chart.tools, custom) == ""
    broken = deepcopy(of_kind(custom, "ScaledObject"))
    del broken[0]["spec"]["scaleTargetRef"]["name"]
    assert "name" in modelled(chart.tools, broken)


def modelled(tools: kubernetes.Tools, custom: list[Manifest]) -> str:
    """What the models have against these; "" where nothing."""
    command = ["node", str(tools.models / "validate.js")]
    done = subprocess.run(
        command, input=json.dumps(custom), capture_output=True, text=True, timeout=60, check=False, cwd=tools.models
    )
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout


def test_no_name_is_given_twice_and_all_are_within_limits(made: list[Manifest]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in made]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 52 for _, name in names)


# --- what values say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_value_that_makes_no_sense_is_refused_by_name(chart: Chart, mistake: str) -> None:
    values, named = MISTAKES[mistake]
    done = chart.run("template", "watch", CHART, values=values)
    assert done.returncode != 0
    assert named in done.stderr


def test_switches_switch(chart: Chart) -> None:
    plain, few, everything = (
        {one["kind"] for one in chart.render(name)} for name in ("one fleet", "minimal", "everything")
    )
    assert few == {"ConfigMap", "Service", "StatefulSet"}
    assert plain == few | {"CronJob", "Job", "PodDisruptionBudget"}
    assert everything == plain | {"Deployment", "NetworkPolicy", "ServiceMonitor", "PrometheusRule", "ScaledObject"}


def test_keda_alone_counts_the_daemons(chart: Chart) -> None:
    assert "replicas" not in of_kind(chart.render("everything"), "StatefulSet")[0]["spec"]
    [scaled] = of_kind(chart.render("everything"), "ScaledObject")
    assert [trigger["metadata"]["topic"] for trigger in scaled["spec"]["triggers"]] == ["a", "b", "sensors.pumps"]
    assert {trigger["metadata"]["lagThreshold"] for trigger in scaled["spec"]["triggers"]} == {"2000000"}


def test_the_rules_are_those_of_the_sources(chart: Chart, tmp_path: Path) -> None:
    [rule] = of_kind(chart.render("everything"), "PrometheusRule")
    assert rule["spec"]["groups"] == GROUPS
    copied = tmp_path / "sensord"
    shutil.copytree(CHART, copied, symlinks=True)
    (copied / "rules.yaml").unlink()
    done = chart.run("template", "watch", copied, values=VALUES["everything"])
    assert "the chart lacks rules.yaml" in done.stderr


def test_versions_are_this_one(kustomized: dict[str, list[Manifest]]) -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (__version__, __version__)
    [daemon] = of_kind(kustomized["overlays/example"], "StatefulSet")
    assert daemon["spec"]["template"]["spec"]["containers"][0]["image"] == f"registry.example/sensord:{__version__}"


# --- what sensord understands ----------------------------------------------------------------------------------------


def test_settings_load_as_they_stand_in_the_config_map(made: list[Manifest], tmp_path: Path) -> None:
    for number, one in enumerate(of_kind(made, "ConfigMap")):
        file = tmp_path / f"{number}.toml"
        file.write_text(one["data"]["sensord.toml"])
        environ = {
            entry["name"]: str(entry["value"]) for pod in pods(made) for entry in pod["containers"][0].get("env", [])
        }
        settings = load(file, environ=environ)
        assert settings.http.port == 9187
        assert tomllib.loads(file.read_text())["store"]["url"].startswith("postgresql://")


def test_the_migration_may_be_another_user_s(chart: Chart) -> None:
    maps = {
        one["metadata"]["name"]: one["data"]["sensord.toml"] for one in of_kind(chart.render("everything"), "ConfigMap")
    }
    assert "owner@" in maps["watch-sensord-migration"]
    assert "owner@" not in maps["watch-sensord"]
    [job] = of_kind(chart.render("everything"), "Job")
    [secrets] = [v for v in job["spec"]["template"]["spec"]["volumes"] if v["name"] == "secrets"]
    assert secrets["secret"]["secretName"] == "owner"


def test_what_pods_run_are_commands_with_options_that_exist(made: list[Manifest]) -> None:
    for pod in pods(made):
        for container in pod["containers"]:
            assert "command" not in container
            parse(f"sensord {' '.join(container['args'])}", whole=False)


def test_each_fleet_is_learnt_by_a_job_of_its_own(chart: Chart) -> None:
    jobs = of_kind(chart.render("everything"), "CronJob")
    args = [next(pods([job]))["containers"][0]["args"] for job in jobs]
    assert [line[line.index("--fleet") + 1] for line in args] == ["line_ups", "pumps"]


def test_fleets_of_like_names_in_a_release_with_a_long_one_share_no_job(chart: Chart) -> None:
    fleets = {name: {"topics": [name]} for name in ("pump-station-north", "pump-station-south", "a_b", "a-b")}
    for release in ("watch", "predictive-maintenance-of-all-pumps-everywhere"):
        done = chart.run("template", release, CHART, values={"config": {"fleets": fleets}})
        names = {one["metadata"]["name"] for one in of_kind(manifests(done.stdout), "CronJob")}
        assert len(names) == len(fleets)
        assert all(len(name) <= 52 for name in names)  # the pods' own come after it


def test_trainer_and_notifier_may_be_other_users_than_the_daemon(chart: Chart) -> None:
    users = {}
    for pod in pods(chart.render("everything")):
        env = {entry["name"]: entry["value"] for entry in pod["containers"][0].get("env", [])}
        [secrets] = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
        users[pod["containers"][0]["name"]] = (env.get("SENSORD_STORE__URL"), secrets["secret"]["secretName"])
    assert users == {
        "sensord": (None, "passwords"),
        "migrate": (None, "owner"),
        "train": ("postgresql://trainer@db/sensord", "trainer"),
        "notify": ("postgresql://notifier@db/sensord", "notifier"),
        "web": ("postgresql://operator@db/sensord", "operator"),
    }


def test_every_pod_is_restricted(made: list[Manifest]) -> None:
    assert [reason for pod in pods(made) for reason in unrestricted(pod)] == []


def test_a_right_that_is_left_would_be_noticed(chart: Chart) -> None:
    pod = deepcopy(next(pods(of_kind(chart.render("one fleet"), "StatefulSet"))))
    pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    del pod["securityContext"]["seccompProfile"]
    assert len(unrestricted(pod)) == 2


def unrestricted(pod: Manifest) -> list[str]:
    """What a pod may that it needn't, by the restricted standard and beyond."""
    context, found = pod.get("securityContext", {}), []
    wanted = {"runAsNonRoot": True, "runAsUser": 10_001, "seccompProfile": {"type": "RuntimeDefault"}}
    found += [f"pod: {key}" for key, value in wanted.items() if context.get(key) != value]
    found += [key for key in ("enableServiceLinks", "automountServiceAccountToken") if pod.get(key) is not False]
    strict = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        found += [f"{container['name']}: {key}" for key, value in strict.items() if own.get(key) != value]
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        found += [] if writable == {"/tmp"} else [f"{container['name']}: writes {writable}"]  # noqa: S108
    found += [volume["name"] for volume in pod["volumes"] if "hostPath" in volume]
    return found


def test_volumes_are_there_for_all_that_is_mounted(made: list[Manifest]) -> None:
    for pod in pods(made):
        names = {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == names


def test_probes_ask_what_the_daemon_answers_and_give_a_drain_its_time(made: list[Manifest]) -> None:
    [daemon] = of_kind(made, "StatefulSet")
    pod = daemon["spec"]["template"]["spec"]
    container = pod["containers"][0]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert pod["terminationGracePeriodSeconds"] > DaemonSettings().drain_timeout_s + Pace().commit_interval_s
    [port] = [port for port in container["ports"] if port["name"] == "http"]
    assert {"name": "SENSORD_HTTP__PORT", "value": str(port["containerPort"])} in container["env"]
    [service] = [one for one in of_kind(made, "Service") if one["metadata"]["name"] == daemon["spec"]["serviceName"]]
    labels = daemon["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert daemon["spec"]["selector"]["matchLabels"].items() <= labels.items()


def notifiers(made: list[Manifest]) -> list[Manifest]:
    return [one for one in of_kind(made, "Deployment") if one["metadata"]["name"].endswith("-notify")]


def test_whoever_tells_is_asked_too(chart: Chart) -> None:
    made = chart.render("everything")
    [notifier] = notifiers(made)
    container = notifier["spec"]["template"]["spec"]["containers"][0]
    [port] = container["ports"]
    assert {"name": "SENSORD_NOTIFY__PORT", "value": str(port["containerPort"])} in container["env"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")}
    assert paths == {"livenessProbe": "/livez", "readinessProbe": "/readyz"}
    [service] = [one for one in of_kind(made, "Service") if one["metadata"]["name"] == notifier["metadata"]["name"]]
    assert service["spec"]["selector"].items() <= notifier["spec"]["template"]["metadata"]["labels"].items()


def test_the_page_is_reached_through_its_service(chart: Chart) -> None:
    made = chart.render("everything")
    [page] = [one for one in of_kind(made, "Deployment") if one["metadata"]["name"].endswith("-web")]
    [service] = [one for one in of_kind(made, "Service") if one["metadata"]["name"] == page["metadata"]["name"]]
    labels = page["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert page["spec"]["selector"]["matchLabels"].items() <= labels.items()
    container = page["spec"]["template"]["spec"]["containers"][0]
    assert [port["name"] for port in container["ports"]] == [service["spec"]["ports"][0]["targetPort"]]
    assert {"name": "SENSORD_WEB__PORT", "value": str(container["ports"][0]["containerPort"])} in container["env"]


def test_the_base_is_the_chart_s_daemon(chart: Chart, kustomized: dict[str, list[Manifest]]) -> None:
    ours, theirs = (
        deepcopy(next(pods(of_kind(made, "StatefulSet")))) for made in (kustomized["base"], chart.render("one fleet"))
    )
    for pod in (ours, theirs):
        pod.pop("topologySpreadConstraints", None)
        pod.pop("volumes")
        for container in pod["containers"]:
            container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "secrets"]
            for key in ("image", "imagePullPolicy"):
                container.pop(key, None)
    assert ours == theirs
