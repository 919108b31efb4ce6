"""The registry: published bundles as rows, one of them current for each fleet. Used by `trainer`, `daemon` and `cli`.

Bytes in, bytes out: what a bundle means is `model`'s business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, Engine, Row, and_, insert, select, update

from sensord.errors import BundleInvalid, GateRefused, ModelMissing, StageConflict
from sensord.store.database import insert_into, reading, row_as, writing
from sensord.store.schema import bundle_moves, bundles, instant

Verdict: TypeAlias = Mapping[str, object] | None  # as JSON; objections: "" where it passed


class Stage(StrEnum):
    """Where a bundle stands in its fleet."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CURRENT = "current"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class BundleRow:
    """A bundle without its weights. replaced: the bundle that was current before this one was promoted. verdict: of the
    gate, None where nobody has asked it.

    signature: as it is stored, of whomever; None where nobody has signed it.
    """

    fleet: str
    bundle_id: str
    stage: Stage
    sha256: str
    signature: str | None
    replaced: str | None
    verdict: Verdict
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


@dataclass(frozen=True, slots=True)
class Named:
    """A bundle's id, and its signature as it is stored."""

    bundle_id: str
    signature: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """A bundle's step from one stage to another. from_stage: None when it was published. forced: whatever the gate
    said."""

    fleet: str
    bundle_id: str
    from_stage: Stage | None
    to_stage: Stage
    at: datetime
    by: str
    why: str
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Over:
    """The bundle that a promotion is to replace, and no other; None: the fleet has none yet."""

    bundle_id: str | None


_ROW = [bundles.c[name] for name in BundleRow.__dataclass_fields__]
_MOVE = [bundle_moves.c[name] for name in Move.__dataclass_fields__]
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
        by: str,
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
            added = insert_into(connection, bundles).values(row).on_conflict_do_nothing().returning(bundles.c.bundle_id)
            if connection.scalars(added).all():
                _write_down(connection, Move(fleet, bundle_id, None, Stage.CANDIDATE, instant(at), by, ""))
            stored = connection.execute(select(bundles.c.manifest, bundles.c.sha256).where(_is(fleet, bundle_id))).one()
            if tuple(stored) != (row["manifest"], sha256):
                raise BundleInvalid(f"fleet {fleet}: bundle {bundle_id} is published already, with other content")
            if signature is not None:
                _sign(connection, fleet, bundle_id, signature)

    def sign(self, fleet: str, bundle_id: str, signature: bytes) -> None:
        """Put a signature beside a bundle, in the place of the one that was there."""
        with writing(self._engine) as connection:
            _sign(connection, fleet, bundle_id, signature)

    def judged(self, fleet: str, bundle_id: str, verdict: Verdict) -> None:
        """Write down what the gate says of a bundle; objections: "" where there are none."""
        with writing(self._engine) as connection:
            connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(verdict=verdict))

    def promote(
        self,
        fleet: str,
        name: str,
        at: int,
        by: str,
        why: str = "",
        over: Over | None = None,
        force: bool = False,
    ) -> str:
        """Make a bundle current and retire the one that was; promoting the current one changes nothing.

        name: an id or the unique beginning of one. over: the bundle that has to be current. force: whatever the gate
        said. Returns the full id. Raises ModelMissing, GateRefused, StageConflict where another is current than over.
        """
        with writing(self._engine) as connection:
            standing = _lock(connection, fleet)
            bundle_id = _one(list(standing), fleet, name)
            before = _current(standing)
            if over is not None and over.bundle_id != before:
                raise StageConflict(
                    f"fleet {fleet}: {before or 'no bundle'} is current by now, and {bundle_id} was held against "
                    f"{over.bundle_id or 'none'}; it stays {standing[bundle_id].stage}: hold it against that one"
                )
            objections = standing[bundle_id].objections
            if objections and before != bundle_id and not force:
                raise GateRefused(f"fleet {fleet}: {bundle_id} stays {standing[bundle_id].stage}: {objections}")
            if before != bundle_id:
                _retire_current(connection, fleet, standing, at, by, f"{bundle_id} is promoted")
                stage, forced = standing[bundle_id].stage, bool(objections)
                _move(connection, Move(fleet, bundle_id, stage, Stage.CURRENT, instant(at), by, why, forced))
                promoted = {"promoted_at": instant(at), "replaced": before}
                connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(promoted))
        return bundle_id

    def shadow(self, fleet: str, name: str, at: int, by: str, why: str = "") -> str:
        """Have daemons score a bundle beside the current one. Its fleet's shadow until now becomes a candidate again.

        Returns the full id. Raises ModelMissing, StageConflict where it is current.
        """
        with writing(self._engine) as connection:
            standing = _lock(connection, fleet)
            bundle_id = _one(list(standing), fleet, name)
            stage = standing[bundle_id].stage
            if stage is Stage.CURRENT:
                raise StageConflict(f"fleet {fleet}: {bundle_id} is current; a shadow is scored beside that")
            for other, one in standing.items():
                if one.stage is Stage.SHADOW and other != bundle_id:
                    gone = Move(fleet, other, Stage.SHADOW, Stage.CANDIDATE, instant(at), by, f"{bundle_id} is shadow")
                    _move(connection, gone)
            if stage is not Stage.SHADOW:
                _move(connection, Move(fleet, bundle_id, stage, Stage.SHADOW, instant(at), by, why))
        return bundle_id

    def retire(self, fleet: str, name: str, at: int, by: str, why: str = "") -> str:
        """Take a bundle that isn't current out of service. Returns the full id. Raises ModelMissing, StageConflict."""
        with writing(self._engine) as connection:
            standing = _lock(connection, fleet)
            bundle_id = _one(list(standing), fleet, name)
            stage = standing[bundle_id].stage
            if stage is Stage.CURRENT:
                raise StageConflict(
                    f"fleet {fleet}: {bundle_id} is current; promote another one, or roll back, and it is retired"
                )
            if stage is not Stage.RETIRED:
                _move(connection, Move(fleet, bundle_id, stage, Stage.RETIRED, instant(at), by, why))
        return bundle_id

    def rollback(self, fleet: str, at: int, by: str, why: str = "") -> str:
        """Make the bundle current again that the current one replaced, and retire that. Returns its id.

        Once more goes back one further. Raises ModelMissing where there is nothing to go back to.
        """
        with writing(self._engine) as connection:
            standing = _lock(connection, fleet)
            current = _current(standing)
            before = standing[current].replaced if current else None
            if before is None:
                raise ModelMissing(f"fleet {fleet}: no bundle was current before; {_listed(list(standing))}")
            _retire_current(connection, fleet, standing, at, by, why or f"rolled back to {before}")
            _move(connection, Move(fleet, before, standing[before].stage, Stage.CURRENT, instant(at), by, why))
        return before

    def condemn(self, fleet: str, bundle_id: str, at: int, by: str, why: str) -> str:
        """Roll a bundle back that has proved harmful: it becomes what the gate refuses, until somebody forces it.

        Returns the id of the one that is current again. Raises StageConflict where it isn't current any more or was
        forced, ModelMissing where there is nothing to go back to.
        """
        with writing(self._engine) as connection:
            standing = _lock(connection, fleet)
            if _current(standing) != bundle_id:
                raise StageConflict(f"fleet {fleet}: {bundle_id} is not current any more")
            if _was_forced(connection, fleet, bundle_id):
                raise StageConflict(f"fleet {fleet}: {bundle_id} was promoted by force, and stays")
            before = standing[bundle_id].replaced
            if before is None or before not in standing:
                raise ModelMissing(f"fleet {fleet}: no bundle was current before {bundle_id}")
            verdict = connection.scalar(select(bundles.c.verdict).where(_is(fleet, bundle_id))) or {}
            spoilt = {"verdict": {**verdict, "objections": f"rolled back by itself: {why}"}}
            connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(spoilt))
            _retire_current(connection, fleet, standing, at, by, why)
            _move(connection, Move(fleet, before, standing[before].stage, Stage.CURRENT, instant(at), by, why))
        return before

    def moves(self, fleet: str, name: str | None = None, limit: int | None = None) -> Sequence[Move]:
        """Who moved which bundle when and why, the last first. Raises ModelMissing."""
        chosen = select(*_MOVE).where(bundle_moves.c.fleet == fleet).order_by(bundle_moves.c.sequence.desc())
        with reading(self._engine) as connection:
            if name is not None:
                ids = connection.scalars(select(bundles.c.bundle_id).where(bundles.c.fleet == fleet)).all()
                chosen = chosen.where(bundle_moves.c.bundle_id == _one(ids, fleet, name))
            return [row_as(Move, row) for row in connection.execute(chosen.limit(limit))]

    def current(self, fleet: str) -> StoredBundle | None:
        """The fleet's current bundle; None where none was promoted."""
        chosen = select(*_STORED).where(bundles.c.fleet == fleet, bundles.c.stage == Stage.CURRENT.value)
        with reading(self._engine) as connection:
            row = connection.execute(chosen).one_or_none()
        return None if row is None else _stored(row)

    def current_id(self, fleet: str) -> str | None:
        """Its id alone."""
        current = self.on_stage(fleet).get(Stage.CURRENT)
        return None if current is None else current.bundle_id

    def on_stage(self, fleet: str) -> dict[Stage, Named]:
        """The current bundle and the shadow, where the fleet has them: cheap enough to ask at every snapshot."""
        columns = (bundles.c.stage, bundles.c.bundle_id, bundles.c.signature)
        chosen = select(*columns).where(
            bundles.c.fleet == fleet, bundles.c.stage.in_([Stage.CURRENT.value, Stage.SHADOW.value])
        )
        with reading(self._engine) as connection:
            return {Stage(row.stage): Named(row.bundle_id, row.signature) for row in connection.execute(chosen)}

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


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a bundle stands, which one it replaced when it was promoted, and what the gate has against it."""

    stage: Stage
    replaced: str | None
    objections: str


def _lock(connection: Connection, fleet: str) -> dict[str, _Standing]:
    """Keep everybody else from changing a fleet's stages; how every bundle stands.

    Asked again once the lock is had: what was published while we waited for it is not in the first answer.
    """
    mine = select(bundles.c.bundle_id).where(bundles.c.fleet == fleet)
    connection.execute(mine.order_by(bundles.c.bundle_id).with_for_update()).all()
    columns = (bundles.c.bundle_id, bundles.c.stage, bundles.c.replaced, bundles.c.verdict)
    rows = connection.execute(select(*columns).where(bundles.c.fleet == fleet))
    return {row.bundle_id: _Standing(Stage(row.stage), row.replaced, _objections(row.verdict)) for row in rows}


def _objections(verdict: Verdict) -> str:
    return "" if verdict is None else str(verdict["objections"])


def _current(standing: Mapping[str, _Standing]) -> str | None:
    return next((bundle_id for bundle_id, one in standing.items() if one.stage is Stage.CURRENT), None)


def _was_forced(connection: Connection, fleet: str, bundle_id: str) -> bool:
    """The latest promotion of a bundle was against the gate's verdict."""
    m = bundle_moves.c
    mine = select(m.forced).where(m.fleet == fleet, m.bundle_id == bundle_id, m.to_stage == Stage.CURRENT.value)
    return bool(connection.scalar(mine.order_by(m.sequence.desc()).limit(1)))


def _retire_current(
    connection: Connection, fleet: str, standing: Mapping[str, _Standing], at: int, by: str, why: str
) -> None:
    if (current := _current(standing)) is not None:
        _move(connection, Move(fleet, current, Stage.CURRENT, Stage.RETIRED, instant(at), by, why))


def _move(connection: Connection, move: Move) -> None:
    """Put a bundle on another stage, and write down who did it."""
    retired_at = move.at if move.to_stage is Stage.RETIRED else None
    values = {"stage": move.to_stage.value, "retired_at": retired_at}
    connection.execute(update(bundles).where(_is(move.fleet, move.bundle_id)).values(values))
    _write_down(connection, move)


def _write_down(connection: Connection, move: Move) -> None:
    connection.execute(insert(bundle_moves), asdict(move))


def _sign(connection: Connection, fleet: str, bundle_id: str, signature: bytes) -> None:
    connection.execute(update(bundles).where(_is(fleet, bundle_id)).values(signature=signature.decode()))


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
