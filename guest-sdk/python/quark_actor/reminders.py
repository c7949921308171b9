"""Turns that an actor is given at its times, also after restarts of its silo.

    class Digest(Actor, state=Content):
        def begin(self) -> None:
            reminders.cron("daily", "0 8 * * *")

        def on_reminder(self, firing: Firing) -> None:
            self.state.entries = 0

    ReminderTarget = reminder_target(Digest)

What is registered is saved with what the turn changed, and so is that a time was handled: a turn that fails comes
again. The world has `import quark:actor/reminders@0.1.0` and `export quark:actor/reminder-target@0.1.0`.
"""

from wit_world.imports import reminders as host
from wit_world.imports.reminders import Missed, Reminder, Schedule_Cron, Schedule_Every, Schedule_Once

from . import CallFailed, Err, _as_text, _asked, _exported, _found, _no_kind, _raise, _wait

__all__ = [
    "Missed",
    "Reminder",
    "ReminderRefused",
    "Schedule_Cron",
    "Schedule_Every",
    "Schedule_Once",
    "cron",
    "every",
    "once",
    "register",
    "registered",
    "reminder_target",
    "unregister",
]


class ReminderRefused(CallFailed):
    """A reminder that is over a bound or has no times, or a store that cannot be read; nothing was changed. `text`
    says why. Like any `CallFailed` that nobody catches it becomes the error of the method."""

    def __init__(self, text):
        # Absent from worlds that name no `call-error`; such a world has nobody to tell of one.
        from wit_world.imports.types import CallError_Other

        super().__init__(CallError_Other(text))
        self.text = text


def once(name, after_ms, payload=b""):
    """Calls the actor's `on_reminder(firing)` once, after that time. Replaces the reminder of that name."""
    register(name, Schedule_Once(after_ms), payload=payload)


def every(name, each_ms, payload=b"", missed=Missed.FIRE_ONCE):
    """Calls it again and again, for the first time after `each_ms`, which is at least 100. `missed` says what becomes
    of times that passed while no silo was up."""
    register(name, Schedule_Every(each_ms), missed, payload)


def cron(name, fields, payload=b"", missed=Missed.FIRE_ONCE):
    """The same at times of the day: five fields (minute, hour, day of the month, month, day of the week), UTC."""
    register(name, Schedule_Cron(fields), missed, payload)


def register(name, schedule, missed=Missed.FIRE_ONCE, payload=b""):
    """What all of these do. Raises `ReminderRefused`."""
    try:
        host.register(name, schedule, missed, payload)
    except Err as error:
        raise ReminderRefused(error.value) from None


def unregister(name):
    """Ends the reminder of that name, if there is one."""
    host.unregister(name)


def registered():
    """The reminders that stand, by name, with what this turn changed. Raises `ReminderRefused`; in the flavour
    `async func` it is awaited."""
    return _asked(host.registered, failed=ReminderRefused)


def reminder_target(*kinds):
    """The class to export as `ReminderTarget` of these actors' classes: it finds whose reminder it is."""

    def found(me):
        return _found(kinds, me) or _raise(Err(_no_kind(me)))

    if _wait(kinds, "on_reminder"):

        class ReminderTarget(_exported("ReminderTarget")):
            async def on_reminder(self, me, firing):
                with _as_text():
                    await found(me).on_reminder(firing)

    else:

        class ReminderTarget:
            def on_reminder(self, me, firing):
                with _as_text():
                    found(me).on_reminder(firing)

    return ReminderTarget
