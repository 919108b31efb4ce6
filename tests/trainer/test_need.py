"""When a bundle is due."""

from dataclasses import replace

import pytest

from sensord.trainer.need import DAY_US, Learnt, Standing, Terms, reasons

NOW = 1_700_000_000_000_000
LEARNT = Learnt("pumps-1", NOW - 10 * DAY_US, ("heat", "flow"), frozenset({"a", "b", "c"}))
SEEN = dict.fromkeys("abc", NOW - 90 * DAY_US)
STANDING = Standing(None, SEEN, ())
TERMS = Terms(max_age_days=30, new_share=0.1)


def test_a_young_bundle_of_a_fleet_that_stays_as_it_is_is_not_due() -> None:
    assert reasons(LEARNT, STANDING, TERMS, NOW) == []
    assert reasons(LEARNT, replace(STANDING, channels=("heat", "flow")), TERMS, NOW) == []


@pytest.mark.parametrize(
    ("learnt", "standing", "reason"),
    [
        (None, STANDING, "no bundle is current that could be read"),
        (replace(LEARNT, made_at=NOW - 31 * DAY_US), STANDING, "pumps-1 is 31.0 days old, more than 30"),
        (
            LEARNT,
            replace(STANDING, channels=("heat", "flow", "noise")),
            "the settings demand channels heat, flow, noise; pumps-1 has heat, flow",
        ),
        (LEARNT, replace(STANDING, drifting={"c", "a"}), "drifted since: a, c"),
        (LEARNT, replace(STANDING, drifting=set("abcdefg")), "drifted since: a, b, c, d, e and 2 more"),
        (
            LEARNT,
            replace(STANDING, first_seen=SEEN | {"d": NOW - 2 * DAY_US}),
            "new for a day at least, more than 10% of the fleet: d",
        ),
    ],
)
def test_what_makes_it_due_is_said(learnt: Learnt | None, standing: Standing, reason: str) -> None:
    assert reasons(learnt, standing, TERMS, NOW) == [reason]


@pytest.mark.parametrize(
    ("seen_days_ago", "why"),
    [(0.5, "too little of it yet"), (11, "it was there before, and had too little history")],
)
def test_a_device_that_is_as_good_as_unknown_is_not_new(seen_days_ago: float, why: str) -> None:
    seen = SEEN | {"d": NOW - round(seen_days_ago * DAY_US)}
    assert reasons(LEARNT, replace(STANDING, first_seen=seen), TERMS, NOW) == [], why


def test_a_few_new_devices_can_wait() -> None:
    many = {f"old-{number}": NOW - 90 * DAY_US for number in range(30)}
    assert reasons(LEARNT, replace(STANDING, first_seen=many | {"d": NOW - 2 * DAY_US}), TERMS, NOW) == []
