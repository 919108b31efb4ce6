"""Publishing, promoting and going back, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sensord.errors import BundleInvalid, ModelMissing
from sensord.store import Engine
from sensord.store.registry import Registry, Stage, StoredBundle
from sensord.store.schema import instant
from tests.store.rows import NOW


@pytest.fixture
def registry(engine: Engine) -> Registry:
    return Registry(engine)


def publish(registry: Registry, *names: str, fleet: str = "pumps", weights: bytes = b"\x00weights\xff") -> None:
    for at, name in enumerate(names, NOW):
        registry.publish(fleet, name, f'{{"name": "{name} °C"}}\n'.encode(), weights, f"sha of {name}", at)


def stages(registry: Registry, fleet: str = "pumps") -> dict[str, Stage]:
    return {row.bundle_id: row.stage for row in registry.list(fleet)}


def test_bundle_comes_back_byte_for_byte(registry: Registry) -> None:
    publish(registry, "pumps-1")
    assert registry.get("pumps", "pumps-1") == StoredBundle(
        "pumps", "pumps-1", Stage.CANDIDATE, '{"name": "pumps-1 °C"}\n'.encode(), b"\x00weights\xff", "sha of pumps-1"
    )


def test_publishing_again_changes_nothing(registry: Registry) -> None:
    publish(registry, "pumps-1")
    registry.promote("pumps", "pumps-1", NOW)
    before = registry.list()

    publish(registry, "pumps-1")
    assert registry.list() == before


def test_other_content_under_a_published_id_is_refused(registry: Registry) -> None:
    publish(registry, "pumps-1")
    with pytest.raises(BundleInvalid, match="pumps-1 is published already"):
        registry.publish("pumps", "pumps-1", b"{}", b"other", "sha of other", NOW)
    assert registry.get("pumps", "pumps-1").weights == b"\x00weights\xff"


def test_promotion_retires_the_current_one_of_that_fleet_alone(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    publish(registry, "motors-1", fleet="motors")
    registry.promote("motors", "motors-1", NOW)
    assert registry.current("pumps") is None
    assert registry.current_id("pumps") is None

    assert registry.promote("pumps", "pumps-1", NOW + 1) == "pumps-1"
    assert registry.promote("pumps", "pumps-2", NOW + 2) == "pumps-2"

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
        registry.promote("pumps", name, NOW)

    assert registry.rollback("pumps", NOW) == "pumps-2"
    assert stages(registry)["pumps-3"] == Stage.RETIRED
    assert registry.rollback("pumps", NOW) == "pumps-1"
    with pytest.raises(ModelMissing, match="no bundle was current before"):
        registry.rollback("pumps", NOW)
    assert registry.current_id("pumps") == "pumps-1"


def test_rollback_after_a_rollback_and_a_promotion_finds_what_was_really_current(registry: Registry) -> None:
    publish(registry, "pumps-1", "pumps-2", "pumps-3")
    for name in ("pumps-1", "pumps-2"):
        registry.promote("pumps", name, NOW)
    registry.rollback("pumps", NOW)
    registry.promote("pumps", "pumps-3", NOW)

    assert registry.rollback("pumps", NOW) == "pumps-1"


def test_promotions_at_the_same_time_leave_one_current(registry: Registry) -> None:
    names = [f"pumps-{n}" for n in range(6)]
    publish(registry, *names)
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda name: registry.promote("pumps", name, NOW), names)) == names

    assert sorted(stages(registry).values()) == [Stage.CURRENT] + [Stage.RETIRED] * 5


def test_missing_bundle_is_answered_with_those_there_are(registry: Registry) -> None:
    with pytest.raises(ModelMissing, match="none is published"):
        registry.get("pumps", "pumps-1")
    publish(registry, "pumps-1", "pumps-10", "pumps-2")
    assert registry.get("pumps", "pumps-1").bundle_id == "pumps-1"
    assert registry.promote("pumps", "pumps-2", NOW) == "pumps-2"
    for name, said in (("pumps-3", "no bundle's id begins"), ("pumps", "several bundles' ids begin")):
        with pytest.raises(ModelMissing, match=f"{said}.*published are pumps-1, pumps-10, pumps-2"):
            registry.promote("pumps", name, NOW)
    assert registry.current_id("pumps") == "pumps-2"
