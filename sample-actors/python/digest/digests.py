"""Sums up what it was told, at its times: the sample `digest` in Python."""

from dataclasses import dataclass, field

from componentize_py_types import Err
from quark_actor import Actor, reminders
from quark_actor.reminders import Missed, Reminder, Schedule_Once, reminder_target
from wit_world.exports.digests import Planned, Summary
from wit_world.exports.lifecycle import Activation, Deactivation
from wit_world.exports.reminder_target import Firing
from wit_world.imports import context
from wit_world.imports.types import ActorId

HOUR_MS = 3_600_000
# Why the actor of this instance woke.
woke = ""


@dataclass
class Content:
    entries: int = 0
    # Reminder, due, at, entries, payload.
    made: list[tuple] = field(default_factory=list)


class Digest(Actor, state=Content):
    def on_reminder(self, firing: Firing) -> None:
        match firing.name:
            case "fail":
                raise Err("it is out of ink")
            case "trap":
                raise RuntimeError("it tore the page")
            case "again":
                reminders.register("again", Schedule_Once(HOUR_MS), Missed.SKIP, b"anew")
            case "stop":
                reminders.unregister("stop")
        self.state.made.append((firing.name, firing.due, context.now(), self.state.entries, list(firing.payload)))
        self.state.entries = 0

    def add(self, entry: str) -> None:
        self.state.entries += 1

    def once(self, reminder: str, after_ms: int) -> None:
        reminders.once(reminder, after_ms, b"once")

    def every(self, reminder: str, each_ms: int, missed: str) -> None:
        missed = {"fire-all": Missed.FIRE_ALL, "skip": Missed.SKIP}.get(missed, Missed.FIRE_ONCE)
        reminders.every(reminder, each_ms, b"every", missed)

    def at(self, reminder: str, fields: str) -> None:
        reminders.cron(reminder, fields, b"cron")

    def cancel(self, reminder: str) -> None:
        reminders.unregister(reminder)

    def planned(self) -> list[Planned]:
        return [shown(it) for it in reminders.registered()]

    def many(self, n: int, after_ms: int) -> None:
        for it in range(n):
            reminders.once(str(it), after_ms)

    def undone(self, reminder: str) -> None:
        reminders.once(reminder, 0)
        raise RuntimeError("it changed its mind")

    def made(self) -> list[Summary]:
        return [Summary(name, due, at, entries, bytes(payload)) for name, due, at, entries, payload in self.state.made]

    def woke(self) -> str:
        return woke


def shown(it: Reminder) -> Planned:
    return Planned(it.name, it.next, it.missed.name)


class Lifecycle:
    def activate(self, it: Activation) -> None:
        global woke
        woke = it.cause.name.lower()

    def deactivate(self, me: ActorId, why: Deactivation) -> None:
        pass


ReminderTarget = reminder_target(Digest)
