"""What each page shows: asks the store, and fills a template. Used by `app`, which knows who asks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sensord import __version__
from sensord.detection.alerts import Kind, Run, Severity, Status
from sensord.errors import NotFound, StateUnreadable
from sensord.model.manifest import Manifest, parse_manifest
from sensord.settings import LimitSettings
from sensord.store.alert_queries import alerts_of_device, neighbours
from sensord.store.alerts import AlertFilter, AlertRow, history, list_alerts, show
from sensord.store.devices import list_devices
from sensord.store.health import WORST_FIRST, bundle_records, devices_by_health, health_counts
from sensord.store.last_readings import last_readings
from sensord.store.registry import BundleRow, Registry, Stage
from sensord.store.schema import instant
from sensord.stream.dead_letters import DEVICE_ID_LIMIT
from sensord.texts import duration, figure, printable, time_text
from sensord.web import curves
from sensord.web.access import Visitor
from sensord.web.site import Site

HERE = Path(__file__).parent
AT_ONCE = 50  # alerts a page
MOST_DEVICES = 300  # of a fleet, on the first page
OF_A_DEVICE = 25  # alerts
SHORT = 8  # characters of an id
STARS = 3  # of a glob
SINCE = {"": "ever", "1h": "the last hour", "24h": "the last day", "7d": "the last week", "30d": "the last month"}
SPANS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}


@dataclass(slots=True)
class Pages:
    """Each method makes one page's HTML. Raises NotFound, StoreUnavailable.

    style: what stands for the files that pages bring, so that browsers keep them as long as they are these.
    """

    site: Site
    style: str
    _templates: Environment = field(init=False)

    def __post_init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"time": time_text, "figure": figure, "percent": "{:.0%}".format, "ago": self._ago}
        self._templates.globals |= {
            "version": __version__,
            "device_url": device_url,
            "short": _short,
        }

    def fleets(self, who: Visitor, device: str | None) -> str:
        """All fleets, by the health of their devices."""
        device = _glob(device)
        counts = health_counts(self.site.engine)
        nothing = dict.fromkeys(WORST_FIRST, 0)
        shown = [
            {
                "name": name,
                "counts": counts.get(name, nothing),
                "devices": devices_by_health(self.site.engine, name, device, MOST_DEVICES),
            }
            for name in sorted({*self.site.fleets, *counts})
        ]
        return self._page("fleets.html", who, fleets=shown, device=device or "", most=MOST_DEVICES)

    def alerts(self, who: Visitor, asked: Mapping[str, str]) -> str:
        """Alerts, filtered."""
        now = self._now()
        since = SPANS.get(asked.get("since", ""))
        filters = AlertFilter(
            fleet=asked.get("fleet") or None,
            device=_glob(asked.get("device")),
            since=None if since is None else now - since,
            open_only=asked.get("open") == "1",
            severity=_one_of(Severity, asked.get("severity")),
            kind=_one_of(Kind, asked.get("kind")),
            run=_one_of(Run, asked.get("run")) or Run.LIVE,
            shown_at=None if asked.get("suppressed") == "1" else now,
        )
        number = max(int(page) if (page := asked.get("page", "")).isdecimal() and len(page) < 4 else 1, 1)
        found = list_alerts(self.site.engine, filters, number * AT_ONCE + 1)
        rest = {name: value for name, value in asked.items() if name != "page" and value}
        return self._page(
            "alerts.html",
            who,
            alerts=found[(number - 1) * AT_ONCE : number * AT_ONCE],
            asked=asked,
            newer=None if number == 1 else "/alerts?" + urlencode(rest | {"page": str(number - 1)}),
            older=None if len(found) <= number * AT_ONCE else "/alerts?" + urlencode(rest | {"page": str(number + 1)}),
            fleets=sorted(self.site.fleets),
            kinds=tuple(Kind),
            severities=tuple(Severity),
            since=SINCE,
            runs=tuple(Run),
        )

    def alert(self, who: Visitor, name: str) -> str:
        """One alert: what, why, and what people say."""
        alert = show(self.site.engine, name)
        before, after = neighbours(self.site.engine, alert)
        return self._page(
            "alert.html",
            who,
            alert=alert,
            ratio=alert.score_peak / alert.threshold if alert.threshold > 0 else None,
            lasted=(alert.closed_at or alert.last_seen_at) - alert.opened_at,
            events=history(self.site.engine, alert.id),
            before=before,
            after=after,
            forecast=_forecast(alert),
            curves=curves.of_alert(alert, self._limits(alert.fleet)).script(),
            may_accept=alert.status is Status.OPEN and alert.accepted_at is None,
            duration=duration,
        )

    def device(self, who: Visitor, fleet: str, device_id: str) -> str:
        """One device: its last readings and its alerts."""
        rows = [row for row in list_devices(self.site.engine, fleet, _exactly(device_id)) if row.device_id == device_id]
        if not rows:
            raise NotFound(f"fleet {printable(fleet)} has no device {printable(device_id)}")
        alerts = alerts_of_device(self.site.engine, fleet, device_id, OF_A_DEVICE)
        unreadable, seen = "", None
        try:
            seen = last_readings(self.site.engine, fleet, device_id)
        except StateUnreadable as error:
            unreadable = str(error)
        drawn = None
        if seen is not None:
            drawn = curves.of_device(seen, self._channels(fleet, seen.observed.shape[1]), alerts, self._limits(fleet))
        return self._page(
            "device.html",
            who,
            device=rows[0],
            alerts=alerts,
            most=OF_A_DEVICE,
            curves=None if drawn is None else drawn.script(),
            drawn=drawn,
            unreadable=unreadable,
        )

    def models(self, who: Visitor) -> str:
        """Bundles of every fleet."""
        registry = Registry(self.site.engine)
        rows = registry.list()
        fleets = [
            {
                "name": name,
                "bundles": [row for row in rows if row.fleet == name],
                "records": bundle_records(self.site.engine, name),
                "moves": registry.moves(name, limit=10),
            }
            for name in sorted({*self.site.fleets, *(row.fleet for row in rows)})
        ]
        return self._page("models.html", who, fleets=fleets, gate=_gate)

    def model(self, who: Visitor, fleet: str, name: str, against: str | None) -> str:
        """One bundle: what the gate says, and what it has other than another one: the current one unless told."""
        registry = Registry(self.site.engine)
        rows = {row.bundle_id: row for row in registry.list(fleet)}
        if name not in rows:
            raise NotFound(f"fleet {printable(fleet)} has no bundle {printable(name)}")
        current = next((row.bundle_id for row in rows.values() if row.stage is Stage.CURRENT), None)
        other = against if against in rows else current if current != name else rows[name].replaced
        facts = self._facts(registry, rows[name])
        theirs = self._facts(registry, rows[other]) if other in rows else {}
        names = [*facts, *(each for each in theirs if each not in facts)]
        compared = [(each, facts.get(each, "-"), theirs.get(each, "-")) for each in names]
        return self._page(
            "model.html",
            who,
            row=rows[name],
            gate=_gate(rows[name]),
            checks=(rows[name].verdict or {}).get("checks", []),
            other=other if other in rows else None,
            others=[each for each in rows if each != name],
            compared=compared,
        )

    def status(self, who: Visitor) -> str:
        """Fleets and partitions as they stand."""
        return self._page("status.html", who, standing=self.site.standing())

    def login(self, then: str, wrong: str = "") -> str:
        """Where the token is asked for."""
        return self._page("login.html", Visitor(), then=then, wrong=wrong)

    def message(self, who: Visitor, title: str, text: str) -> str:
        """A page that says why there is none."""
        return self._page("message.html", who, title=title, text=text)

    # --- what pages have in common -----------------------------------------------------------------------------------

    def _page(self, template: str, who: Visitor, **content: Any) -> str:
        access = self.site.access
        common = {
            "who": who,
            "may_answer": who.is_known,
            "can_log_in": access.token is not None,
            "word": access.form_word(who),
            "now": self._now(),
            "style": self.style,
        }
        return self._templates.get_template(template).render(common | content)

    def _now(self) -> datetime:
        return instant(self.site.clock.now())

    def _ago(self, at: datetime | None) -> str:
        if at is None:
            return "never"
        gone = self._now() - at
        return f"in {duration(-gone)}" if gone < timedelta(0) else f"{duration(gone)} ago"

    def _limits(self, fleet: str) -> Mapping[str, LimitSettings]:
        return self.site.fleets[fleet].limits if fleet in self.site.fleets else {}

    def _channels(self, fleet: str, width: int) -> Sequence[tuple[str, str]]:
        """Names and units, of the current bundle where it has as many."""
        stored = Registry(self.site.engine).current(fleet)
        if stored is not None and len(channels := parse_manifest(stored.manifest).channels) == width:
            return [(channel.name, channel.unit) for channel in channels]
        return [(f"channel {number}", "") for number in range(1, width + 1)]

    def _facts(self, registry: Registry, row: BundleRow) -> dict[str, str]:
        """What a bundle says of itself."""
        manifest: Manifest = parse_manifest(registry.get(row.fleet, row.bundle_id).manifest)
        told = manifest.history
        return {
            "channels": ", ".join(channel.name for channel in manifest.channels),
            "trunk": f"{manifest.cell}, {manifest.hidden} hidden units",
            "sampling period": f"{manifest.period_s:g} s",
            "history": f"{told.readings:,} readings of {told.devices} devices",
            "history from (UTC)": time_text(instant(told.first_at)),
            "history until (UTC)": time_text(instant(told.last_at)),
            "made by": manifest.made_by,
            **{f"tuning: {each}": f"{getattr(manifest.tuning, each):g}" for each in manifest.tuning.__struct_fields__},
            **{each.replace("_", " "): figure(metric) for each, metric in sorted(manifest.metrics.items())},
        }


def device_url(fleet: str, device_id: str) -> str:
    """Where a device's page is, whatever it is called: odd names are no part of a path."""
    if re.fullmatch(r"[\w~:@-][\w~:@.-]*", device_id, re.ASCII):
        return f"/devices/{quote(fleet, safe='')}/{device_id}"
    return f"/devices/{quote(fleet, safe='')}/?{urlencode({'id': device_id})}"


def _shown(value: object) -> object:
    """What devices and people sent must not turn what stands around it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _glob(device: str | None) -> str | None:
    """A filter by name, as it was typed. Raises NotFound for one that would take a regular expression for ever."""
    if device and (device.count("*") > STARS or len(device) > DEVICE_ID_LIMIT):
        raise NotFound(f"a name to look for has {DEVICE_ID_LIMIT} characters and {STARS} stars at most")
    return device or None


def _short(id_: object) -> str:
    return str(id_)[:SHORT]


def _one_of(kinds: Any, value: str | None) -> Any:
    return kinds(value) if value in tuple(kinds) else None


def _exactly(device_id: str) -> str | None:
    """As a filter that takes globs; None where the name looks like one."""
    return None if "*" in device_id or "?" in device_id else device_id


def _forecast(alert: AlertRow) -> dict[str, object] | None:
    if (ahead := alert.forecast) is None:
        return None
    times = {name: instant(getattr(ahead, name)) for name in ("at", "earliest", "latest")}
    return {"channel": ahead.channel, "limit": ahead.limit, **times}


def _gate(row: BundleRow) -> str:
    if row.verdict is None:
        return "was not asked"
    return f"refused: {row.verdict['objections']}" if row.verdict["objections"] else "passed"
