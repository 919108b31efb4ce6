"""An evaluation's figures for programs. NaN becomes null."""

from collections.abc import Mapping

from sensord.trainer.evaluation.judging import Evaluation, Figures, Quartiles, Share


def figures_of(found: Evaluation) -> dict[str, object]:
    """The model's figures, and the baselines' under their names."""
    trial = found.trial
    return {
        "data": trial.name,
        "seed": found.fit.seed,
        **_figures(found.model),
        "devices": len(trial.cases),
        "channels": len(trial.history.channels),
        "period_s": trial.period_s,
        "row_share_asked": trial.asked_share,
        "as_good": [str(name) for name in found.as_good],
        "ahead": {str(name): list(measures) for name, measures in found.ahead.items()},
        "baselines": {str(name): _figures(figures) for name, figures in found.baselines.items()},
        "by_device": [
            {
                "device_id": result.case.recorded.device_id,
                "f1": result.rates.f1,
                "far": result.rates.far,
                "mar": result.rates.mar,
                "vus_pr": result.vus_pr,
                "faults": len(result.found),
                "found": sum(result.found),
                "alerts": len(result.alerts),
                "false": len(result.false),
            }
            for result in next(iter(found.results.values())).cases
        ],
        "notes": list(trial.notes),
    }


def _figures(figures: Figures) -> dict[str, object]:
    rates, events, alarms = figures.rates, figures.events, figures.false_alarms
    told: dict[str, object] = {
        "f1": rates.f1,
        "far": rates.far,
        "mar": rates.mar,
        "vus_pr": figures.vus_pr,
        "events": {
            "faults": events.faults,
            "found": events.found,
            "alerts": events.alerts,
            "false": events.false,
            "precision": events.precision,
            "recall": events.recall,
            "f1": events.f1,
        },
        "delay_readings": _quartiles(figures.delay),
        "delay_s": _quartiles(figures.delay_s),
        "false_alarms": {
            "asked": alarms.asked,
            "kept": alarms.kept,
            "count": alarms.count,
            "exposure": alarms.exposure,
            "per": alarms.per.name,
        },
        "by_fault": _shares(figures.by_fault, "found"),
        "by_alert": _shares(figures.by_alert, "right"),
        "held_out_error": figures.held_out_error,
    }
    if figures.lead is not None:
        lead = figures.lead
        told["lead"] = {
            "devices": lead.devices,
            "alerted": lead.alerted,
            "early": lead.early,
            "readings": _quartiles(lead.readings),
        }
    return told


def _quartiles(of: Quartiles) -> dict[str, float]:
    return {"q1": of.q1, "median": of.median, "q3": of.q3}


def _shares(shares: Mapping[str, Share], name: str) -> dict[str, dict[str, int]]:
    return {kind: {name: share.part, "of": share.of} for kind, share in shares.items()}
