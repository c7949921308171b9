"""Actors that are what their events made of them.

    @dataclass
    class Account:
        balance: int = 0

    @dataclass
    class Deposited:
        amount: int

    class Ledger(JournaledActor, state=Account, events=[Deposited], call_error=LedgerError_Call):
        def apply(self, event: Deposited) -> None:
            self.state.balance += event.amount

        def deposit(self, amount: int) -> int:
            self.record(Deposited(amount))
            return self.state.balance

    Journaled = journaled(Ledger)

The state is not stored: when the actor wakes, it comes from the newest snapshot and the events after it. So it changes
in `apply` alone; a method decides, and then records what was decided. The world has `import quark:actor/journal@0.1.0` and
`export quark:actor/journaled@0.1.0`.

An actor that does not export that may `append` all the same, beside its state: that is an audit.
"""

import json
from dataclasses import asdict, dataclass, fields
from inspect import isawaitable, iscoroutinefunction

from wit_world.imports import journal as host
from wit_world.imports.journal import Event

from . import Actor, CallFailed, Err, _actors, _as_call_error, _as_text, _asked, _exported, _kind_of, _made, _no_kind

__all__ = ["Event", "JournalFailed", "JournaledActor", "Recorded", "append", "journaled", "read", "snapshot_soon"]

JSON = "application/json"
# What `restore` and `apply` made so far of actors that wake, by class and key, until they are constructed.
_waking = {}


class JournalFailed(CallFailed):
    """An event that was refused, or a journal that cannot be read; nothing was changed. `error` is a case of
    `state-error`. Like any `CallFailed` that nobody catches it becomes the error of the method."""

    def __init__(self, error):
        super().__init__(_as_call_error(error))
        self.error = error


@dataclass
class Recorded:
    """An event of the past: its number, when it was recorded (milliseconds since 1970), and what it says."""

    sequence: int
    at: int
    event: object


def append(name, payload, content_type=JSON):
    """Appends bytes as an event, which commit with the turn. Answers their number. Raises `JournalFailed`."""
    return _appended(Event(name, content_type, payload))


def read(first=1, limit=100):
    """Past entries from that number on, oldest first, as the contract has them. Only an empty answer is the end. It is a
    commit point. Raises `JournalFailed`; in the flavour `async func` it is awaited."""
    return _asked(host.read, first, limit, failed=JournalFailed)


def snapshot_soon():
    """Has a snapshot taken after this turn, so that the actor wakes faster."""
    host.snapshot_soon()


def _appended(event):
    try:
        return host.append(event)
    except Err as error:
        raise JournalFailed(error.value) from None


class JournaledActor(Actor, state=None):
    """An actor that wakes by its journal.

    `state` is the dataclass of what it is, as for `Actor`; `events` are the dataclasses of all that may happen to it, which hold
    what JSON can hold. An event is stored under the name of its class. What is renamed must still be read: give
    `decode_event` the old names.
    """

    _parts = frozenset({"apply", "record", "recorded", "snapshot", "restore", "encode_event", "decode_event"})

    def __init_subclass__(cls, events=(), **more):
        super().__init_subclass__(**more)
        cls._events = {kind.__name__: kind for kind in events}

    def apply(self, event):
        """What the event does to `self.state`: the same whenever it is run, so nothing but the event and what is there
        decides. It can neither call nor tell anybody, and it is no `async def`. `Err("text")` refuses to wake."""
        raise NotImplementedError(f"{type(self).__name__} has no apply")

    def record(self, *events):
        """Appends the events, which commit with the turn, and applies them: all of them or none. Answers the number of the
        last one.

        Raises `JournalFailed` when the first one is refused, and nothing has changed then. When a later one is, or one
        cannot be applied, the turn traps: an event that the actor could not wake by must not be kept.
        """
        encoded = [self.encode_event(event) for event in events]
        # They are applied as they will be read again.
        decoded = [self.decode_event(event) for event in encoded]
        numbers = []
        for event in encoded:
            try:
                numbers.append(_appended(event))
            except JournalFailed as error:
                if not numbers:
                    raise
                self._break(f"event {len(numbers) + 1} of {len(events)} that belong together was refused", error)
        for number, event in zip(numbers, decoded):
            try:
                self.apply(event)
            except Exception as error:
                self._break(f"event {number} (`{type(event).__name__}`) cannot be applied", error)
        return numbers[-1] if numbers else 0

    def recorded(self, first=1, limit=100):
        """Past events from that number on, oldest first, as `Recorded`. Only an empty list is the end. It is a commit
        point. Raises `JournalFailed`; in the flavour `async func` it is awaited."""
        entries = read(first, limit)
        return self._decoded_later(entries) if isawaitable(entries) else self._decoded(entries)

    def snapshot(self):
        """All of `self.state` as bytes."""
        return self._encoded()

    def restore(self, snapshot):
        """`self.state` from what `snapshot` gave."""
        self.state = _made(self._state, json.loads(snapshot))

    def encode_event(self, event):
        """The event as it is stored: JSON under the name of its class."""
        name = type(event).__name__
        if self._events.get(name) is not type(event):
            raise TypeError(f"`{name}` is not among the events of {type(self).__name__}")
        known = {name: asdict(event)} if fields(event) else name
        return Event(name, JSON, json.dumps(known, separators=(",", ":"), ensure_ascii=False).encode())

    def decode_event(self, event):
        """The event as it was given to `encode_event`, maybe by an older version."""
        known = json.loads(event.payload)
        [(name, values)] = [(known, {})] if isinstance(known, str) else known.items()
        if name not in self._events:
            raise LookupError(f"`{name}` is not among the events of {type(self).__name__}")
        return _made(self._events[name], values)

    def _load(self):
        woken = _waking.pop((type(self), self.key), None)
        self.state = woken.state if woken else self._state()
        self._broken = None

    def _save(self):
        # Whoever caught what broke it cannot have it committed.
        if self._broken:
            raise RuntimeError(self._broken)

    def _break(self, what, error):
        reason = error.value if isinstance(error, Err) else error
        self._broken = f"{what}: {reason}"
        raise RuntimeError(self._broken) from error

    def _decoded(self, entries):
        return [Recorded(entry.sequence, entry.at, self._event_of(entry)) for entry in entries]

    async def _decoded_later(self, entries):
        return self._decoded(await entries)

    def _event_of(self, entry):
        try:
            return self.decode_event(entry.event)
        except Exception as error:
            raise ValueError(f"event {entry.sequence} (`{entry.event.name}`) cannot be read: {error!r}") from error


def journaled(*kinds):
    """The class to export as `Journaled` of these actors' classes."""

    def kind_of(me):
        kind = _kind_of(kinds, me)
        if kind is None:
            raise Err(_no_kind(me))
        return kind

    def restore(me, snapshot):
        actor = _on_its_way(kind_of(me), me.key, afresh=True)
        try:
            actor.restore(snapshot)
        except Exception as error:
            raise Err(f"the snapshot of {me.kind} cannot be read: {error!r}") from None

    def apply(me, entry):
        # Another try of an actor that refused to wake begins anew.
        actor = _on_its_way(kind_of(me), me.key, afresh=entry.sequence == 1)
        try:
            event = actor._event_of(entry)
        except ValueError as error:
            raise Err(str(error)) from None
        with _as_text():
            actor.apply(event)

    def snapshot(me):
        actor = _actors.get((_kind_of(kinds, me), me.key))
        if actor is None:
            raise LookupError(f"{me.kind} {me.key} is not awake here")
        return actor.snapshot()

    exported = _exported("Journaled")
    if iscoroutinefunction(exported.apply):

        class Journaled(exported):
            async def restore(self, me, snapshot):
                restore(me, snapshot)

            async def apply(self, me, entry):
                apply(me, entry)

            async def snapshot(self, me):
                return snapshot(me)

    else:

        class Journaled:
            def restore(self, me, snapshot):
                restore(me, snapshot)

            def apply(self, me, entry):
                apply(me, entry)

            def snapshot(self, me):
                return snapshot(me)

    return Journaled


def _on_its_way(kind, key, afresh):
    actor = None if afresh else _waking.get((kind, key))
    if actor is None:
        # Its constructor comes last, and takes what this has become.
        actor = kind.__new__(kind)
        actor.key, actor.state, actor._broken = key, kind._state(), None
        _waking[kind, key] = actor
    return actor
