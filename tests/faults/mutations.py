"""Guards of the product, taken out one at a time to show that the suite would notice. Used by `build`;
`scripts/faults --mutate` plays each.

A mutation is a change of one piece of source text, compiled into the running test build; no file is touched. Where the
product's text has moved on, applying it fails loudly: a mutation that changes nothing would prove nothing.
"""

import inspect
import sys
import textwrap
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Mutation:
    """where: module:Class.method or module:function. old: text of it that occurs once. new: what stands there then."""

    what: str
    edits: tuple[tuple[str, str, str], ...]
    seen_by: str  # the scenario that must notice


MUTATIONS = {
    "row-count": Mutation(
        "a commit that moved no row goes on to write its alerts",
        (("sensord.store.progress:Progress.commit", "if lost:", "if not checkpoints:"),),
        "zombie-idle",
    ),
    "previous-offset": Mutation(
        "a commit does not ask where the last one ended",
        (
            (
                "sensord.store.progress:_advance",
                "partition_progress.c.next_offset.is_not_distinct_from(mark.previous_offset),",
                "",
            ),
        ),
        "failover-loses-commits",
    ),
    "padding": Mutation(
        "the network is stepped by torch, in waves that are not padded to one size",
        (
            (
                "sensord.detection.fleet:_model",
                'weights if device == "cpu" else weights._replace(kind=ELSEWHERE)',
                "weights._replace(kind=ELSEWHERE)",
            ),
            (
                "sensord.model.network:Stepper.step",
                "self._x.to(self._device), self._state.to(self._device)",
                "self._x[:n].to(self._device), self._state[:n].to(self._device)",
            ),
        ),
        "kill-after-commit",
    ),
    "seek": Mutation(
        "an adopted partition is read from next_offset, not from where its state belongs",
        (
            (
                "sensord.daemon.loop:Loop._adopt",
                "position = live_from if claim.state_offset is None else claim.state_offset",
                "position = live_from",
            ),
        ),
        "kill-after-commit",
    ),
    "kafka-first": Mutation(
        "offsets are committed to Kafka first, and Kafka's are believed",
        (
            (
                "sensord.daemon.loop:Loop._commit_all",
                "with self._metrics.commit_seconds.time():",
                "self._source._consumer.commit({__import__('kafka').TopicPartition(c.partition.topic, "
                "c.partition.number): __import__('kafka').OffsetAndMetadata(c.next_offset, '', -1) "
                "for c in checkpoints})\n    with self._metrics.commit_seconds.time():",
            ),
            (
                "sensord.daemon.loop:Loop._adopt",
                "position = live_from if claim.state_offset is None else claim.state_offset",
                "position = self._source._consumer.committed(__import__('kafka').TopicPartition("
                "claim.partition.topic, claim.partition.number)) or 0",
            ),
        ),
        "kill-before-commit",
    ),
    "late": Mutation(
        "late and repeated readings are accepted",
        (
            (
                "sensord.detection.fleet:Fleet._take",
                "place, did = intake.take(rows, place, batch, state, self._model, self._desk, out)",
                "row, last = rows[place], self.devices.last_at; slot = batch.slots[row]; "
                "last[slot] = min(last[slot], batch.at[row] - 1); "  # whatever came before it, it is news
                "place, did = intake.take(rows[: place + 1], place, batch, state, self._model, self._desk, out)",
            ),
        ),
        "uninterrupted",
    ),
    "checksum": Mutation(
        "the client does not check what it fetches",
        (("sensord.stream.kafka:_group_config", '"check_crcs": True', '"check_crcs": False'),),
        "broker-corrupts",
    ),
    "truncation": Mutation(
        "a claim does not compare its offset with the log's end",
        (("sensord.daemon.loop:Loop._bridge_gaps", "if loss is None:", "if True:"),),
        "log-truncated",
    ),
    "eviction": Mutation(
        "devices beyond the most are kept",
        (
            (
                "sensord.daemon.loop:Loop._evict_surplus",
                "(gone := shard.evict(self._most_devices(shard)))",
                "(gone := 0)",
            ),
            ("sensord.daemon.loop:Loop._crowded", "return not shard.replaying and", "return False and"),
        ),
        "new-devices",
    ),
}


class NotApplicable(Exception):
    """The product's text has moved on: such a mutation would change nothing, and prove nothing."""


def apply(name: str) -> None:
    """Mutate this process; "" leaves it as it is. Raises NotApplicable."""
    for where, old, new in MUTATIONS[name].edits if name else ():
        owner, attribute, source = _found(where, old)
        module = sys.modules[where.partition(":")[0]]
        scope: dict[str, object] = {}
        exec(compile(source.replace(old, new), f"<mutated {where}>", "exec"), vars(module), scope)  # noqa: S102
        setattr(owner, attribute, scope[attribute])


def check(name: str) -> None:
    """Raises NotApplicable where `apply` would: asked before the play, since a daemon that can't begin looks like a
    fault that was noticed."""
    for where, old, _ in MUTATIONS[name].edits:
        _found(where, old)


def _found(where: str, old: str) -> tuple[object, str, str]:
    """What is to be mutated: its owner, its name there, its source."""
    module_name, _, path = where.partition(":")
    *owners, attribute = path.split(".")
    owner: object = import_module(module_name)
    for each in owners:
        owner = getattr(owner, each)
    source = textwrap.dedent(inspect.getsource(getattr(owner, attribute)))
    if source.count(old) != 1:
        raise NotApplicable(f"{where}: its source holds {old!r} {source.count(old)} times, not once")
    return owner, attribute, source
