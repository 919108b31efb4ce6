"""The registry: published bundles as rows, one of them current for each fleet. Used by `trainer`, `daemon` and `cli`.

Bytes in, bytes out: what a bundle means is `model`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, select, update

from sensord.errors import BundleInvalid, ModelMissing
from sensord.store.database import insert_into, reading, row_as, writing
from sensord.store.schema import bundles, instant


class Stage(StrEnum):
    """Where a bundle stands in its fleet."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CURRENT = "current"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class BundleRow:
    """A bundle without its weights. replaced: the bundle that was current before this one was promoted.

    signature: as it is stored, of whomever; None where nobody has signed it.
    """

    fleet: str
    bundle_id: str
    stage: Stage
    sha256: str
    signature: str | None
    replaced: str | None
    created_at: datetime
    promoted_at: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A bundle as it was published, byte for byte."""

    fleet: str
    bundle_id: str
    stage: Stage
    manifest: bytes
    weights: bytes
    sha256: str
    signature: bytes | None = None


_ROW = [bundles.c[name] for name in BundleRow.__dataclass_fields__]
_STORED = [bundles.c[name] for name in StoredBundle.__dataclass_fields__]


class Registry:
    """The bundles in one database. Every method is one transaction; all raise StoreUnavailable. `at`: microseconds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def publish(
        self,
        fleet: str,
        bundle_id: str,
        manifest: bytes,
        weights: bytes,
        sha256: str,
        at: int,
        signature: bytes | None = None,
    ) -> None:
        """Add a bundle as a candidate; the same one again changes nothing but the signature, where it brings one.

        Raises BundleInvalid where other content goes by this id.
        """
        row = {
            "fleet": fleet,
            "bundle_id": bundle_id,
            "stage": Stage.CANDIDATE.value,
            "manifest": manifest.decode(),
            "weights": weights,
            "sha256": sha256,
            "created_at": instant(at),
        }
        with writing(self._engine) as connection:
            connection.execute(insert_into(connection, bundles).values(row).on_conflict_do_nothing())
            stored = connection.execute(select(bundles.c.manifest, bundles.c.sha256).where(_is(fleet, bundle_id))).one()
            if tuple(stored) != (row["manifest"], sha256):
                raise BundleInvalid(f"fleet {fleet}: bundle {bundle_id} is published already, with other content")
            if signature is not None:
                _sign(connection, fleet, bundle_id, signature)

    def sign(self, fleet: str, bundle_id: str, signature: bytes) -> None:
        """Put a signature beside a bundle, in the place of the one that was there."""
        with writing(self._engine) as connection:
            _sign(connection, fleet, bundle_id, signature)

    def promote(self, fleet: str, name: str, at: int) -> str:
        """Make a bundle current and retire the one that was; promoting the current one changes nothing.

        name: an id or the unique beginning of one. Returns the full id. Raises ModelMissing.
        """
        with writing(self._engine) as connection:
            replaced = _lock(connection, fleet)
            bundle_id = _one(list(replaced), fleet, name)
            before = connection.scalars(_current_id(fleet)).one_or_none()
            if before != bundle_id:
                _make_current(connection, fleet, bundle_id, at)
                promoted = {"promoted_at": instant(at), "replaced": before}
                connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(promoted))
        return bundle_id

    def rollback(self, fleet: str, at: int) -> str:
        """Make the bundle current again that the current one replaced, and retire that. Returns its id.

        Once more goes back one further. Raises ModelMissing where there is nothing to go back to.
        """
        with writing(self._engine) as connection:
            replaced = _lock(connection, fleet)
            current = connection.scalars(_current_id(fleet)).one_or_none()
            before = replaced.get(current) if current else None
            if before is None:
                raise ModelMissing(f"fleet {fleet}: no bundle was current before; {_listed(list(replaced))}")
            _make_current(connection, fleet, before, at)
        return before

    def current(self, fleet: str) -> StoredBundle | None:
        """The fleet's current bundle; None where none was promoted."""
        chosen = select(*_STORED).where(bundles.c.fleet == fleet, bundles.c.stage == Stage.CURRENT.value)
        with reading(self._engine) as connection:
            row = connection.execute(chosen).one_or_none()
        return None if row is None else _stored(row)

    def current_id(self, fleet: str) -> str | None:
        """Its id alone: cheap enough to ask at every snapshot."""
        current = self.current_signed(fleet)
        return None if current is None else current[0]

    def current_signed(self, fleet: str) -> tuple[str, str | None] | None:
        """Its id and its signature: as cheap."""
        chosen = select(bundles.c.bundle_id, bundles.c.signature).where(
            bundles.c.fleet == fleet, bundles.c.stage == Stage.CURRENT.value
        )
        with reading(self._engine) as connection:
            row = connection.execute(chosen).one_or_none()
        return None if row is None else (row.bundle_id, row.signature)

    def get(self, fleet: str, name: str) -> StoredBundle:
        """One bundle by its id or the unique beginning of it. Raises ModelMissing."""
        with reading(self._engine) as connection:
            ids = connection.scalars(select(bundles.c.bundle_id).where(bundles.c.fleet == fleet)).all()
            chosen = select(*_STORED).where(_is(fleet, _one(ids, fleet, name)))
            return _stored(connection.execute(chosen).one())

    def list(self, fleet: str | None = None) -> list[BundleRow]:
        """Bundles by fleet, the last published first."""
        chosen = select(*_ROW).order_by(bundles.c.fleet, bundles.c.created_at.desc(), bundles.c.bundle_id)
        if fleet is not None:
            chosen = chosen.where(bundles.c.fleet == fleet)
        with reading(self._engine) as connection:
            return [row_as(BundleRow, row) for row in connection.execute(chosen)]


def _lock(connection: Connection, fleet: str) -> dict[str, str | None]:
    """Keep everybody else from changing a fleet's stages; every bundle's id and the one it replaced."""
    mine = select(bundles.c.bundle_id, bundles.c.replaced).where(bundles.c.fleet == fleet)
    rows = connection.execute(mine.order_by(bundles.c.bundle_id).with_for_update())
    return {row.bundle_id: row.replaced for row in rows}


def _make_current(connection: Connection, fleet: str, bundle_id: str, at: int) -> None:
    retired = {"stage": Stage.RETIRED.value, "retired_at": instant(at)}
    was_current = and_(bundles.c.fleet == fleet, bundles.c.stage == Stage.CURRENT.value)
    connection.execute(update(bundles).where(was_current).values(retired))
    current = {"stage": Stage.CURRENT.value, "retired_at": None}
    connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(current))


def _sign(connection: Connection, fleet: str, bundle_id: str, signature: bytes) -> None:
    connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(signature=signature.decode()))


def _current_id(fleet: str) -> Select[str]:
    return select(bundles.c.bundle_id).where(bundles.c.fleet == fleet, bundles.c.stage == Stage.CURRENT.value)


def _is(fleet: str, bundle_id: str) -> ColumnElement[bool]:
    return and_(bundles.c.fleet == fleet, bundles.c.bundle_id == bundle_id)


def _one(ids: Sequence[str], fleet: str, name: str) -> str:
    """The id that `name` is, or alone begins with it."""
    found = [bundle_id for bundle_id in ids if bundle_id == name] or [one for one in ids if one.startswith(name)]
    if len(found) != 1:
        how_many = "no bundle's id begins" if not found else "several bundles' ids begin"
        raise ModelMissing(f"fleet {fleet}: {how_many} with {name!r}; {_listed(ids)}")
    return found[0]


def _listed(ids: Sequence[str]) -> str:
    return f"published are {', '.join(sorted(ids))}" if ids else "none is published"


def _stored(row: Row[*tuple[object, ...]]) -> StoredBundle:
    fields = dict(row._mapping)
    signature = None if fields["signature"] is None else fields["signature"].encode()
    read = {"stage": Stage(fields["stage"]), "manifest": fields["manifest"].encode(), "signature": signature}
    return StoredBundle(**fields | read)
