"""`sensord alerts`: what was found, why, and what people say about it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum

import click

from sensord.cli.alert_filters import filter_options
from sensord.cli.alerts_many import export, stats, tail
from sensord.cli.context import engine_of, settings_of
from sensord.cli.options import OneOf, by_option
from sensord.cli.output import Column, Format, console, format_option, limit_option, write, write_object, write_table
from sensord.cli.sparkline import extent, sparkline
from sensord.clock import MICROSECONDS, SystemClock
from sensord.detection.alerts import ChannelShare, Evidence, Severity, Status
from sensord.store.alerts import AlertEvent, AlertFilter, AlertRow, Feedback, acknowledge, history, list_alerts
from sensord.store.alerts import accept as record_acceptance
from sensord.store.alerts import feedback as record_feedback
from sensord.store.alerts import show as find
from sensord.store.schema import instant
from sensord.texts import figure, printable, time_text

ID_SHOWN = 8  # characters
EVIDENCE_CHANNELS = 3


class Verdict(StrEnum):
    """What people say of an alert: a word of `Feedback`, or none that takes it back."""

    REAL = Feedback.REAL.value
    FALSE_ALARM = Feedback.FALSE_ALARM.value
    NONE = "none"


def _urgency(row: AlertRow) -> str:
    if row.status is Status.CLOSED:
        return ""
    return "bold red" if row.severity is Severity.CRITICAL else "yellow"


def _because(row: AlertRow) -> str:
    return ", ".join(f"{share.channel} {share.share:.0%}" for share in row.top_channels[:2])


def _answer(row: AlertRow) -> str:
    return row.feedback.value if row.feedback else f"seen by {row.acknowledged_by}" if row.acknowledged_by else ""


COLUMNS = (
    Column[AlertRow]("id", lambda row: str(row.id)[:ID_SHOWN]),
    Column[AlertRow]("opened (UTC)", lambda row: time_text(row.opened_at)),
    Column[AlertRow]("closed (UTC)", lambda row: time_text(row.closed_at)),
    Column[AlertRow]("severity", lambda row: row.severity.value, style=_urgency),
    Column[AlertRow]("kind", lambda row: row.kind.value),
    Column[AlertRow]("fleet", lambda row: row.fleet),
    Column[AlertRow]("device", lambda row: row.device_id),
    Column[AlertRow]("peak", lambda row: figure(row.score_peak), right=True),
    Column[AlertRow]("limit", lambda row: figure(row.threshold), right=True),
    Column[AlertRow]("readings", lambda row: str(row.readings), right=True),
    Column[AlertRow]("because of", _because),
    Column[AlertRow]("answer", _answer),
)


@click.group("alerts")
def alerts() -> None:
    """What was found, why, and what people say about it. ID may be the beginning of an alert's id."""


@alerts.command("list")
@filter_options
@limit_option()
@format_option()
@click.pass_context
def list_(ctx: click.Context, filters: AlertFilter, limit: int, form: Format) -> None:
    """List alerts of the live run that nothing suppresses, the last opened first.

    Programs get every column but the evidence.
    """
    with engine_of(settings_of(ctx).store) as engine:
        rows = list_alerts(engine, filters, limit + 1)
    write(rows, AlertRow, form, COLUMNS, omit={"evidence"}, limit=limit)


for command in (stats, export, tail):
    alerts.add_command(command)


@alerts.command("show")
@click.argument("id_")
@format_option(Format.TABLE, Format.JSON)
@click.pass_context
def show(ctx: click.Context, id_: str, form: Format) -> None:
    """Show one alert, and why it was opened.

    People see the readings around the opening for the channels that weigh most, programs see them all.
    """
    with engine_of(settings_of(ctx).store) as engine:
        alert = find(engine, id_)
        events = history(engine, alert.id)
    if form is Format.JSON:
        write_object(asdict(alert) | {"events": events})
    else:
        _write_alert(alert, events)


@alerts.command("ack")
@click.argument("id_")
@click.option("--comment", help="What you are up to.")
@by_option
@click.pass_context
def ack(ctx: click.Context, id_: str, comment: str | None, by: str) -> None:
    """Say that you look at an alert."""
    with engine_of(settings_of(ctx).store) as engine:
        alert = acknowledge(engine, id_, by, SystemClock().now(), comment)
    click.echo(f"{alert.id} acknowledged by {alert.acknowledged_by}")


@alerts.command("feedback")
@click.argument("id_")
@click.argument("verdict", type=OneOf(tuple(Verdict)))
@click.option("--comment", help="What it was.")
@by_option
@click.pass_context
def feedback(ctx: click.Context, id_: str, verdict: Verdict, comment: str | None, by: str) -> None:
    """Say whether an alert was real; the last word counts, and none takes it back.

    A false alarm suppresses at once what is like it and comes later: the same device, kind and channels, and a peak not
    much higher. What outgrows that is told then. none leaves what would be there had nothing been said.
    """
    said = None if verdict is Verdict.NONE else Feedback(verdict.value)
    with engine_of(settings_of(ctx).store) as engine:
        alert = record_feedback(engine, id_, said, by, SystemClock().now(), comment)
    click.echo(f"{alert.id}: {f'{said.value}, says {alert.feedback_by}' if said else f'taken back by {by}'}")


@alerts.command("accept")
@click.argument("id_")
@click.option("--comment", help="Why it is.")
@by_option
@click.pass_context
def accept(ctx: click.Context, id_: str, comment: str | None, by: str) -> None:
    """Say that what an open alert shows is normal from now on.

    The daemon closes the alert at its next snapshot, and takes the device's level of then for its usual one. A silent
    device is not missed any more until it speaks again.
    """
    with engine_of(settings_of(ctx).store) as engine:
        alert = record_acceptance(engine, id_, by, SystemClock().now(), comment)
    click.echo(f"{alert.id} accepted by {alert.accepted_by}; the daemon closes it at its next snapshot")


# --- one alert for people --------------------------------------------------------------------------------------------


def _write_alert(alert: AlertRow, events: Sequence[AlertEvent]) -> None:
    out = console()
    for name, text in _facts(alert):
        if text:
            out.print(f"{name:<13}", printable(text), markup=False, soft_wrap=True)
    out.print()
    write_table(alert.top_channels, _channel_columns(alert.evidence))
    out.print()
    write_table(events, EVENT_COLUMNS)
    out.print()
    evidence = alert.evidence
    places = [
        evidence.channels.index(share.channel) for share in alert.top_channels if share.channel in evidence.channels
    ]
    write_table(range(len(evidence.at)), _evidence_columns(alert, places[:EVIDENCE_CHANNELS]))


def _facts(alert: AlertRow) -> list[tuple[str, str]]:
    scores = f"first {figure(alert.score_first)}, peak {figure(alert.score_peak)}, last {figure(alert.score_last)}"
    closed = f"{time_text(alert.closed_at)} ({alert.close_reason})" if alert.closed_at else ""
    seen = f"{alert.acknowledged_by} at {time_text(alert.acknowledged_at)}" if alert.acknowledged_by else ""
    comment = f": {alert.feedback_comment}" if alert.feedback_comment else ""
    feedback = f"{alert.feedback}, says {alert.feedback_by} at {time_text(alert.feedback_at)}{comment}"
    return [
        ("alert", str(alert.id)),
        ("what", f"{alert.severity} {alert.kind}, {alert.status}"),
        ("device", f"{alert.device_id} of fleet {alert.fleet}"),
        ("opened", f"{time_text(alert.opened_at)} UTC"),
        ("closed", closed),
        ("score", f"{scores}; limit {figure(alert.threshold)}"),
        ("readings", str(alert.readings)),
        ("forecast", _forecast(alert)),
        ("bundle", alert.model_id),
        ("records", f"{alert.topic}[{alert.partition}] {alert.first_offset} to {alert.last_offset}, {alert.run}"),
        ("acknowledged", seen),
        ("feedback", feedback if alert.feedback else ""),
        ("accepted", f"{alert.accepted_by} at {time_text(alert.accepted_at)}" if alert.accepted_by else ""),
        ("suppressed", _suppressed(alert)),
    ]


def _forecast(alert: AlertRow) -> str:
    """Which limit a drift will reach, and when; "" where nothing is said."""
    if (ahead := alert.forecast) is None:
        return ""
    at, earliest, latest = (time_text(instant(each)) for each in (ahead.at, ahead.earliest, ahead.latest))
    return f"{ahead.channel} reaches {figure(ahead.limit)} at {at} UTC, nine in ten between {earliest} and {latest}"


def _suppressed(alert: AlertRow) -> str:
    window = f"by window {alert.suppressed_window}" if alert.suppressed_window is not None else ""
    like = f"like {alert.suppressed_like}, which was called a false alarm" if alert.suppressed_like else ""
    return "; ".join(filter(None, (window, like)))


def _channel_columns(evidence: Evidence) -> list[Column[ChannelShare]]:
    """What each channel had to do with it, and its course around the opening: one scale a channel."""

    def course(share: ChannelShare, which: Sequence[Sequence[float | None]]) -> str:
        if share.channel not in evidence.channels:
            return ""
        place = evidence.channels.index(share.channel)
        observed, expected = ([row[place] for row in rows] for rows in (evidence.observed, evidence.expected))
        return sparkline([row[place] for row in which], *extent(observed, expected))

    return [
        Column("channel", lambda share: share.channel),
        Column("share", lambda share: f"{share.share:.0%}", right=True),
        Column("observed", lambda share: figure(share.observed), right=True),
        Column("expected", lambda share: figure(share.expected), right=True),
        Column("unit", lambda share: share.unit),
        Column("observed, around the opening", lambda share: course(share, evidence.observed)),
        Column("expected", lambda share: course(share, evidence.expected)),
    ]


EVENT_COLUMNS = (
    Column[AlertEvent]("at (UTC)", lambda event: time_text(event.at)),
    Column[AlertEvent]("event", lambda event: event.event),
    Column[AlertEvent]("severity", lambda event: event.severity.value),
    Column[AlertEvent]("by", lambda event: event.by or "sensord"),
    Column[AlertEvent]("comment", lambda event: event.comment or ""),
)


def _evidence_columns(alert: AlertRow, places: Sequence[int]) -> list[Column[int]]:
    """Columns over row numbers of the evidence: its time, then each channel observed and expected."""
    evidence = alert.evidence

    def observed(place: int) -> Column[int]:
        return Column(evidence.channels[place], lambda row: figure(evidence.observed[row][place]), right=True)

    def expected(place: int) -> Column[int]:
        return Column("expected", lambda row: figure(evidence.expected[row][place]), right=True)

    at = Column[int](
        "reading (UTC)", lambda row: time_text(datetime.fromtimestamp(evidence.at[row] / MICROSECONDS, UTC))
    )
    return [at, *(column(place) for place in places for column in (observed, expected))]
