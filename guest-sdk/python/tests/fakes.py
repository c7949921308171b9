"""A host of one actor and the modules that componentize-py makes, for tests of the layer."""

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType


class Err(Exception):
    def __init__(self, value):
        self.value = value


def case(name):
    """A case of a variant, as componentize-py makes them."""
    return type(name, (), {"__init__": lambda self, value=None: setattr(self, "value", value)})


class Host(ModuleType):
    def reset(self):
        self.stored, self.sets, self.limit = {}, 0, 1 << 20

    def get(self, name):
        return self.stored.get(name)

    def set(self, name, value):
        if len(value) > self.limit:
            raise Err(case("StateError_TooLarge")(self.limit))
        self.sets += 1
        self.stored[name] = value


host = Host("wit_world.imports.state")
types = ModuleType("wit_world.imports.types")
for name in ("TooLarge", "Denied", "Other", "Failed"):
    setattr(types, f"CallError_{name}", case(f"CallError_{name}"))
imports = ModuleType("wit_world.imports")
timers = ModuleType("wit_world.imports.timers")
timers.start = lambda *timer: timers.started.append(timer)
timers.stop = lambda name: name == "there"
timers.started = []
children = ModuleType("wit_world.imports.children")


def asked(name):
    def ask(*arguments):
        children.asked.append((name, *arguments, host.get("state")))
        if children.error:
            raise Err(children.error)

    return ask


for name in ("spawn", "stop", "watch", "unwatch"):
    setattr(children, name, asked(name))
children.all = lambda: ["b", "c"]
children.asked, children.error = [], None


class Reminders(ModuleType):
    Missed = Enum("Missed", ["FIRE_ONCE", "FIRE_ALL", "SKIP"])
    Schedule_Once, Schedule_Every, Schedule_Cron = map(case, ("Schedule_Once", "Schedule_Every", "Schedule_Cron"))
    Reminder = type("Reminder", (), {})

    def reset(self):
        self.all, self.error = {}, None

    def register(self, name, schedule, missed, payload):
        if self.error:
            raise Err(self.error)
        self.all[name] = (type(schedule).__name__, schedule.value, missed.name, payload)

    def unregister(self, name):
        self.all.pop(name, None)

    def registered(self):
        if self.error:
            raise Err(self.error)
        return list(self.all)


@dataclass
class Event:
    name: str
    content_type: str
    payload: bytes


@dataclass
class Entry:
    sequence: int
    at: int
    event: Event


class Journal(ModuleType):
    Event, Entry = Event, Entry

    def reset(self):
        self.entries, self.most, self.snapshots, self.error = [], 100, 0, None

    def append(self, event):
        if len(self.entries) >= self.most:
            raise Err(case("StateError_Unavailable")("commit first"))
        self.entries.append(Entry(len(self.entries) + 1, 7, event))
        return len(self.entries)

    def read(self, first, limit):
        if self.error:
            raise Err(self.error)
        return self.entries[first - 1 :][:limit]

    def snapshot_soon(self):
        self.snapshots += 1


reminders, journal = Reminders("wit_world.imports.reminders"), Journal("wit_world.imports.journal")
for name, module in {
    "state": host,
    "types": types,
    "timers": timers,
    "children": children,
    "reminders": reminders,
    "journal": journal,
}.items():
    setattr(imports, name, module)
    sys.modules[f"wit_world.imports.{name}"] = module
supervision = ModuleType("wit_world.exports.supervisor")
supervision.Directive = Enum("Directive", ["RESUME", "RESTART", "STOP", "ESCALATE"])
bindings = ModuleType("componentize_py_types")
bindings.Err = Err
world, exports = ModuleType("wit_world"), ModuleType("wit_world.exports")
world.exports = exports
for name in ("TimerTarget", "ReminderTarget", "Supervisor", "Watcher"):
    # An `async func` cannot be called without it.
    setattr(exports, name, type(name, (), {"starts": True}))


def journaled(wait):
    """The class `Journaled` of a world with `func`, or with `async func`."""

    async def later(self, me, entry):
        pass

    exports.Journaled = type("Journaled", (), {"starts": True, "apply": later if wait else lambda self, me, entry: None})


journaled(wait=False)
sys.modules.update(
    {
        "wit_world": world,
        "wit_world.imports": imports,
        "wit_world.exports": exports,
        "wit_world.exports.supervisor": supervision,
        "componentize_py_types": bindings,
    }
)
sys.path.insert(0, str(Path(__file__).parents[1]))
