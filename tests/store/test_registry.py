"""Publishing, promoting and going back, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from sensord.errors import BundleInvalid, GateRefused, ModelMissing, StageConflict
from sensord.store import Engine
from sensord.store.registry import Over, Registry, Stage, StoredBundle
from sensord.store.schema import bundles, instant
from tests.store.conditions import blocked, wait_until
from tests.store.rows import NOW


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


def publish(registry: Registry, *names: str, fleet: str = "pumps", weights: bytes = b"\x00weights\xff") -> None:
    for at, name in enumerate(names, NOW):
        registry.publish(fleet, name, f'{{"name": "{name} °C"}}\n'.encode(), weights, f"sha of {name}", at, "ann")


def stages(registry: Registry, fleet: str = "pumps") -> dict[str, Stage]:
    return {row.bundle_id: row.stage for row in registry.list(fleet)}


def test_bundle_comes_back_byte_for_byte(registry: Registry) -> None:
    publish(registry, "pumps-1")
    assert registry.get("pumps", "pumps-1") == StoredBundle(
        "pumps", "pumps-1", Stage.CANDIDATE, '{"name": "pumps-1 °C"}\n'.encode(), b"\x00weights\xff", "sha of pumps-1"
    )


def test_publishing_again_changes_nothing(registry: Registry) -> None:
    publish(registry, "pumps-1")
    registry.promote("pumps", "pumps-1", NOW, "ann")
    before = registry.list()

    publish(registry, "pumps-1")
    assert registry.list() == before


def test_other_content_under_a_published_id_is_refused(registry: Registry) -> None:
    publish(registry, "pumps-1")
    with pytest.raises(BundleInvalid, match="pumps-1 is published already"):
        registry.publish("pumps", "pumps-1", b"{}", b"other", "sha of other", NOW, "ann")
    assert registry.get("pumps", "pumps-1").weights == b"\x00weights\xff"


def test_promotion_retires_the_current_one_of_that_fleet_alone(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    publish(registry, "motors-1", fleet="motors")
    registry.promote("motors", "motors-1", NOW, "ann")
    assert registry.current("pumps") is None
    assert registry.current_id("pumps") is None

    assert registry.promote("pumps", "pumps-1", NOW + 1, "ann") == "pumps-1"
    assert registry.promote("pumps", "pumps-2", NOW + 2, "ann") == "pumps-2"

    current = registry.current("pumps")
    assert current is not None
    assert current.bundle_id == registry.current_id("pumps") == "pumps-2"
    assert stages(registry) == {"pumps-1": Stage.RETIRED, "pumps-2": Stage.CURRENT, "pumps-3": Stage.CANDIDATE}
    assert registry.current_id("motors") == "motors-1"
    when = {row.bundle_id: (row.promoted_at, row.retired_at) for row in registry.list("pumps")}
    assert when["pumps-1"] == (instant(NOW + 1), instant(NOW + 2))


def test_rollback_goes_back_one_promotion_at_a_time(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    for name in ("pumps-1", "pumps-2", "pumps-2", "pumps-3"):
        registry.promote("pumps", name, NOW, "ann")

    assert registry.rollback("pumps", NOW, "ann") == "pumps-2"
    assert stages(registry)["pumps-3"] == Stage.RETIRED
    assert registry.rollback("pumps", NOW, "ann") == "pumps-1"
    with pytest.raises(ModelMissing, match="no bundle was current before"):
        registry.rollback("pumps", NOW, "ann")
    assert registry.current_id("pumps") == "pumps-1"


def test_rollback_after_a_rollback_and_a_promotion_finds_what_was_really_current(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    for name in ("pumps-1", "pumps-2"):
        registry.promote("pumps", name, NOW, "ann")
    registry.rollback("pumps", NOW, "ann")
    registry.promote("pumps", "pumps-3", NOW, "ann")

    assert registry.rollback("pumps", NOW, "ann") == "pumps-1"


def test_promotions_at_the_same_time_leave_one_current(registry: Registry) -> None:
    names = [f"pumps-{n}" for n in range(6)]
    publish(registry, *names)
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda name: registry.promote("pumps", name, NOW, "ann"), names)) == names

    assert sorted(stages(registry).values()) == [Stage.CURRENT] + [Stage.RETIRED] * 5


def test_what_was_published_and_promoted_while_one_waited_is_not_overlooked(postgres: Engine) -> None:
    registry = Registry(postgres)
    publish(registry, "pumps-1", "pumps-2")
    registry.promote("pumps", "pumps-1", NOW, "ann")
    mine = bundles.c.fleet == "pumps"
    with ThreadPoolExecutor(1) as thread:
        with postgres.begin() as other:
            other.execute(select(bundles.c.bundle_id).where(mine).with_for_update()).all()
            waiting = thread.submit(registry.promote, "pumps", "pumps-2", NOW + 1, "ben", over=Over("pumps-1"))
            wait_until(lambda: blocked(postgres) == 1)
            publish(registry, "pumps-3")
            other.execute(update(bundles).where(bundles.c.bundle_id == "pumps-1").values(stage="retired"))
            other.execute(update(bundles).where(bundles.c.bundle_id == "pumps-3").values(stage="current"))
        with pytest.raises(StageConflict, match="pumps-3 is current by now"):
            waiting.result()
    assert registry.current_id("pumps") == "pumps-3"


def test_missing_bundle_is_answered_with_those_there_are(registry: Registry) -> None:
    with pytest.raises(ModelMissing, match="none is published"):
        registry.get("pumps", "pumps-1")
    publish(registry, "pumps-1", "pumps-10", "pumps-2")
    assert registry.get("pumps", "pumps-1").bundle_id == "pumps-1"
    assert registry.promote("pumps", "pumps-2", NOW, "ann") == "pumps-2"
    for name, said in (("pumps-3", "no bundle's id begins"), ("pumps", "several bundles' ids begin")):
        with pytest.raises(ModelMissing, match=f"{said}.*published are pumps-1, pumps-10, pumps-2"):
            registry.promote("pumps", name, NOW, "ann")
    assert registry.current_id("pumps") == "pumps-2"


# --- stages ----------------------------------------------------------------------------------------------------------


def test_every_move_is_a_row_with_who_when_and_why(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2")
    registry.promote("pumps", "pumps-1", NOW + 1, "ann", "the first")
    registry.shadow("pumps", "pumps-2", NOW + 2, "ben", "looks good")
    registry.promote("pumps", "pumps-2", NOW + 3, "ben", "we need it")
    registry.rollback("pumps", NOW + 4, "ann", "it cries wolf")
    registry.retire("pumps", "pumps-2", NOW + 5, "ann")  # it is already: nothing to tell

    published = (None, Stage.CANDIDATE)
    told = [(one.bundle_id, one.from_stage, one.to_stage, one.by) for one in reversed(registry.moves("pumps"))]
    assert told == [
        ("pumps-1", *published, "ann"),
        ("pumps-2", *published, "ann"),
        ("pumps-1", Stage.CANDIDATE, Stage.CURRENT, "ann"),
        ("pumps-2", Stage.CANDIDATE, Stage.SHADOW, "ben"),
        ("pumps-1", Stage.CURRENT, Stage.RETIRED, "ben"),
        ("pumps-2", Stage.SHADOW, Stage.CURRENT, "ben"),
        ("pumps-2", Stage.CURRENT, Stage.RETIRED, "ann"),
        ("pumps-1", Stage.RETIRED, Stage.CURRENT, "ann"),
    ]
    [promoted] = [one for one in registry.moves("pumps", "pumps-2") if one.to_stage is Stage.CURRENT]
    assert (promoted.why, promoted.forced) == ("we need it", False)
    assert promoted.at == instant(NOW + 3)
    assert [one.why for one in registry.moves("pumps", limit=2)] == ["it cries wolf", "it cries wolf"]
    assert registry.moves("motors") == []


def test_of_two_trainers_at_once_one_wins_and_the_other_is_told(registry: Registry) -> None:
    """Both have held their bundle against the same current one."""
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    registry.promote("pumps", "pumps-1", NOW, "ann", over=Over(None))

    def promote(name: str) -> str:
        try:
            return registry.promote("pumps", name, NOW, "trainer", over=Over("pumps-1"))
        except StageConflict as error:
            return str(error)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(promote, ("pumps-2", "pumps-3"))
    [winner] = {"pumps-2", "pumps-3"} & {first, second}
    [loser] = {"pumps-2", "pumps-3"} - {winner}
    [told] = {first, second} - {winner}
    assert told == (
        f"fleet pumps: {winner} is current by now, and {loser} was held against pumps-1; it stays candidate: hold it "
        "against that one"
    )
    assert registry.current_id("pumps") == winner
    assert stages(registry)[loser] is Stage.CANDIDATE


def test_what_does_harm_is_rolled_back_and_stays_out_until_somebody_forces_it(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2")
    with pytest.raises(StageConflict, match="pumps-1 is not current any more"):
        registry.condemn("pumps", "pumps-1", NOW, "daemon", "its states are not finite")
    registry.promote("pumps", "pumps-1", NOW, "ann")
    with pytest.raises(ModelMissing, match="no bundle was current before pumps-1"):
        registry.condemn("pumps", "pumps-1", NOW, "daemon", "its states are not finite")
    registry.judged("pumps", "pumps-2", {"objections": "", "error": 0.5})
    registry.promote("pumps", "pumps-2", NOW, "ann")
    assert registry.condemn("pumps", "pumps-2", NOW, "daemon", "its states are not finite") == "pumps-1"
    assert stages(registry) == {"pumps-1": Stage.CURRENT, "pumps-2": Stage.RETIRED}
    assert [(one.by, one.why) for one in registry.moves("pumps", limit=2)] == [
        ("daemon", "its states are not finite")
    ] * 2
    [row] = [row for row in registry.list("pumps") if row.bundle_id == "pumps-2"]
    objections = "rolled back by itself: its states are not finite"
    assert row.verdict == {"objections": objections, "error": 0.5}, "the gate's figures stay"
    with pytest.raises(GateRefused, match=objections):
        registry.promote("pumps", "pumps-2", NOW, "ann")
    registry.promote("pumps", "pumps-2", NOW, "ann", force=True)
    with pytest.raises(StageConflict, match="by force"):
        registry.condemn("pumps", "pumps-2", NOW, "daemon", "its states are not finite")
    assert registry.current_id("pumps") == "pumps-2"


def test_a_fleet_has_one_shadow_and_the_current_bundle_is_none(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    publish(registry, "motors-1", fleet="motors")
    registry.promote("pumps", "pumps-1", NOW, "ann")
    registry.shadow("motors", "motors-1", NOW, "ann")
    registry.shadow("pumps", "pumps-2", NOW, "ann")
    registry.shadow("pumps", "pumps-2", NOW, "ann")
    assert registry.shadow("pumps", "pumps-3", NOW, "ann") == "pumps-3"
    assert stages(registry) == {"pumps-1": Stage.CURRENT, "pumps-2": Stage.CANDIDATE, "pumps-3": Stage.SHADOW}
    assert stages(registry, "motors") == {"motors-1": Stage.SHADOW}
    with pytest.raises(StageConflict, match="pumps-1 is current; a shadow is scored beside that"):
        registry.shadow("pumps", "pumps-1", NOW, "ann")
    with pytest.raises(StageConflict, match="promote another one, or roll back"):
        registry.retire("pumps", "pumps-1", NOW, "ann")
    registry.retire("pumps", "pumps-3", NOW + 9, "ann")
    assert {row.bundle_id: row.retired_at for row in registry.list("pumps")}["pumps-3"] == instant(NOW + 9)


def test_what_the_gate_refuses_is_promoted_by_force_alone(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2")
    registry.judged("pumps", "pumps-1", {"objections": "9 alarms, 1 allowed", "checks": [{"alarms": 9.0}]})
    registry.judged("pumps", "pumps-2", {"objections": ""})
    with pytest.raises(GateRefused, match="pumps-1 stays candidate: 9 alarms, 1 allowed"):
        registry.promote("pumps", "pumps-1", NOW, "ann")
    assert registry.current_id("pumps") is None
    registry.promote("pumps", "pumps-1", NOW, "ann", force=True)
    registry.promote("pumps", "pumps-2", NOW, "ann", force=True)
    registry.rollback("pumps", NOW, "ann")  # it was current before: nobody asks the gate
    forced = [(one.bundle_id, one.forced) for one in registry.moves("pumps") if one.to_stage is Stage.CURRENT]
    assert forced == [("pumps-1", False), ("pumps-2", False), ("pumps-1", True)]
    verdicts = {row.bundle_id: row.verdict for row in registry.list("pumps")}
    assert verdicts["pumps-1"] == {"objections": "9 alarms, 1 allowed", "checks": [{"alarms": 9.0}]}
