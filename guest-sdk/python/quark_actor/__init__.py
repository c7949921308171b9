"""Write Quark actors in Python: a class for the methods, a dataclass for the state.

    @dataclass
    class Cart:
        items: list[str] = field(default_factory=list)

    class Carts(Actor, state=Cart, call_error=CartError_Call):
        def add(self, item: str) -> int:
            self.state.items.append(item)
            return len(self.state.items)

The state is loaded when the actor wakes, and stored when it changed: before each outgoing call of a
`proxy` and at the end of the turn, also when the turn answers an error. An exception that nobody
catches is a trap: it undoes what was not committed yet.

What wakes actors at their times is in `quark_actor.reminders`, events in `quark_actor.journal`.
"""

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, fields
from functools import wraps
from inspect import isawaitable, iscoroutinefunction, isfunction
from weakref import WeakValueDictionary

from componentize_py_types import Err
from wit_world.imports import state as host

__all__ = [
    "Actor",
    "CallFailed",
    "Refused",
    "children",
    "proxy",
    "spawn_child",
    "start_timer",
    "stop_child",
    "stop_timer",
    "supervisor",
    "timer_target",
    "unwatch",
    "watch",
    "watcher",
]

# The name of the one durable value.
STATE = "state"
# The actors of this instance, by class and key, for their hooks.
_actors = WeakValueDictionary()
# The actor whose turn runs, none while it waits for a call. Turns that interleave are tasks, and each has its own.
_turn = ContextVar("turn", default=None)


class CallFailed(Exception):
    """A call that gave no result of its own. `reason` is a case of `call-error`."""

    def __init__(self, reason):
        super().__init__(repr(reason))
        self.reason = reason


class Refused(Exception):
    """The callee's own error. `value` is a case of its error type."""

    def __init__(self, value):
        super().__init__(repr(value))
        self.value = value


class Actor:
    """What an exported resource derives from.

    `state` is a dataclass whose fields all have defaults and hold what JSON can hold. `call_error`
    makes the methods' error of a `call-error`: the class of the case `call(call-error)`, or
    nothing where the error is a `call-error` itself.
    """

    # Functions of the class that are no turns.
    _parts = frozenset()

    def __init_subclass__(cls, state, call_error=lambda reason: reason, **more):
        super().__init_subclass__(**more)
        cls._state, cls._call_error = state, staticmethod(call_error)
        for name, method in list(vars(cls).items()):
            if isfunction(method) and not name.startswith("_") and name not in cls._parts:
                setattr(cls, name, _turn_of(method))

    def __init__(self, key):
        self.key = key
        _actors[type(self), key] = self
        self._load()

    def _load(self):
        stored = host.get(STATE)
        self.state = _made(self._state, json.loads(stored) if stored else {})
        self._saved = self._encoded()

    def _encoded(self):
        return json.dumps(asdict(self.state)).encode()

    def _save(self):
        encoded = self._encoded()
        if encoded == self._saved:
            return
        try:
            host.set(STATE, encoded)
        except Err as error:
            # The next turn starts from what the host has.
            self._load()
            raise CallFailed(_as_call_error(error.value)) from None
        self._saved = encoded

    def _end(self, failure):
        """Ends a turn with what its method raised, if it did. An error commits like a result."""
        try:
            self._save()
        except CallFailed as unsaved:
            failure = unsaved
        if isinstance(failure, CallFailed):
            raise Err(self._call_error(failure.reason)) from None
        if failure is not None:
            raise failure


def _made(kind, known):
    """The dataclass from those fields: one that is new has its default, and one that is gone is forgotten."""
    return kind(**{it.name: known[it.name] for it in fields(kind) if it.name in known})


def _turn_of(method):
    """The method as a turn: the state is stored at its end. Called by another method it is a part of that one's."""
    if iscoroutinefunction(method):

        @wraps(method)
        async def turn(self, *args):
            if _turn.get() is self:
                return await method(self, *args)
            outer, answer, failure = _turn.set(self), None, None
            try:
                answer = await method(self, *args)
            except (CallFailed, Err) as raised:
                failure = raised
            finally:
                _turn.reset(outer)
            self._end(failure)
            return answer

    else:

        @wraps(method)
        def turn(self, *args):
            if _turn.get() is self:
                return method(self, *args)
            outer, answer, failure = _turn.set(self), None, None
            try:
                answer = method(self, *args)
            except (CallFailed, Err) as raised:
                failure = raised
            finally:
                _turn.reset(outer)
            self._end(failure)
            return answer

    return turn


def start_timer(name, after_ms, every_ms=None, payload=b""):
    """Calls the actor's `on_timer(name, payload)` after that time, then again and again if `every_ms` is
    given. Replaces the timer of that name; all go when the actor leaves memory."""
    from wit_world.imports import timers

    timers.start(name, after_ms, every_ms, payload)


def stop_timer(name):
    """Whether there was one to stop."""
    from wit_world.imports import timers

    return timers.stop(name)


def timer_target(*kinds):
    """The class to export as `TimerTarget` of these actors' classes: it finds whose timer it is."""

    def found(me):
        return _found(kinds, me) or _raise(Err(_no_kind(me)))

    if _wait(kinds, "on_timer"):

        class TimerTarget(_exported("TimerTarget")):
            async def on_timer(self, me, name, payload):
                with _as_text():
                    await found(me).on_timer(name, payload)

    else:

        class TimerTarget:
            def on_timer(self, me, name, payload):
                with _as_text():
                    found(me).on_timer(name, payload)

    return TimerTarget


def spawn_child(child, lifetime):
    """Adopts the actor (an `ActorId`) and activates it. `lifetime` is a `Lifetime`, both of the world's imports.
    Raises `CallFailed`; in the flavour `async func` it is awaited, as `stop_child` and `watch` are."""
    from wit_world.imports import children as host

    return _asked(host.spawn, child, lifetime)


def stop_child(child):
    """Ends the child and its own children; calls to it get `stopped` until it is spawned again."""
    from wit_world.imports import children as host

    return _asked(host.stop, child)


def children():
    """The ids of all children, in the order in which they were spawned."""
    from wit_world.imports import children as host

    return host.all()


def watch(target):
    """Calls `on_terminated(target, reason)` when that actor stops for good or its silo is lost."""
    from wit_world.imports import children as host

    return _asked(host.watch, target)


def unwatch(target):
    """Ends that."""
    from wit_world.imports import children as host

    host.unwatch(target)


def supervisor(*kinds):
    """The class to export as `Supervisor` of the parents' classes that decide about failures: it calls their
    `on_child_failed(failure)`, which answers a `Directive`. Of other kinds the manifest's strategy rules."""

    def decides(me):
        return _found(kinds, me) or _Strategy

    if _wait(kinds, "on_child_failed"):

        class Supervisor(_exported("Supervisor")):
            async def on_child_failed(self, me, failure):
                with _as_trap():
                    directive = decides(me).on_child_failed(failure)
                    return await directive if isawaitable(directive) else directive

    else:

        class Supervisor:
            def on_child_failed(self, me, failure):
                with _as_trap():
                    return decides(me).on_child_failed(failure)

    return Supervisor


class _Strategy:
    @staticmethod
    def on_child_failed(_):
        from wit_world.exports.supervisor import Directive

        return Directive.RESTART


def watcher(*kinds):
    """The class to export as `Watcher` of the classes that watch: it calls their `on_terminated(target, reason)`."""

    def found(me):
        return _found(kinds, me) or _raise(LookupError(_no_kind(me)))

    if _wait(kinds, "on_terminated"):

        class Watcher(_exported("Watcher")):
            async def on_terminated(self, me, target, reason):
                with _as_trap():
                    await found(me).on_terminated(target, reason)

    else:

        class Watcher:
            def on_terminated(self, me, target, reason):
                with _as_trap():
                    found(me).on_terminated(target, reason)

    return Watcher


def _found(kinds, me):
    """The actor with that name, if its class is one of these."""
    kind = _kind_of(kinds, me)
    return kind and (_actors.get((kind, me.key)) or kind(me.key))


def _kind_of(kinds, me):
    """Its class, if it is one of these."""
    name = "".join(part.capitalize() for part in me.kind.rpartition("#")[2].split("-"))
    return next((kind for kind in kinds if kind.__name__ == name), None)


def _no_kind(me):
    return f"this component has no class for {me.kind}"


def _wait(kinds, hook):
    """Whether that hook is written in the flavour `async func`."""
    return any(iscoroutinefunction(getattr(kind, hook)) for kind in kinds)


def _exported(name):
    """The class by which componentize-py starts an `async func`; it is there only in worlds that export it."""
    from wit_world import exports

    return getattr(exports, name)


def _raise(error):
    raise error


@contextmanager
def _as_text():
    """The error of such a hook is a text."""
    try:
        yield
    except Err as error:
        raise Err(error.value if isinstance(error.value, str) else repr(error.value)) from None


@contextmanager
def _as_trap():
    """A hook without a result cannot answer an error."""
    try:
        yield
    except Err as error:
        raise RuntimeError(repr(error.value)) from None


def proxy(kind):
    """The class of an imported kind, whose methods store the state of the turn before they call, and
    raise `CallFailed` or `Refused`."""
    methods = {name: _call_of(it) for name, it in vars(kind).items() if callable(it) and not name.startswith("_")}
    return type(kind.__name__, (kind,), methods)


def _call_of(method):
    @wraps(method)
    def call(self, *args):
        return _asked(method, self, *args)

    return call


def _asked(function, *args, failed=None):
    """Calls out: the state of the turn is stored before, and others may run meanwhile. `failed` makes the exception
    of an error."""
    failed = failed or _failure
    turn = _turn.get()
    if turn is not None:
        turn._save()
    waits = _turn.set(None)
    try:
        answer = function(*args)
    except Err as error:
        raise failed(error.value) from None
    finally:
        _turn.reset(waits)
    return _awaited(answer, failed) if isawaitable(answer) else answer


async def _awaited(answer, failed):
    waits = _turn.set(None)
    try:
        return await answer
    except Err as error:
        raise failed(error.value) from None
    finally:
        _turn.reset(waits)


def _failure(value):
    """The exception for what a call answered as its error. Cases are classes: `CallError_Failed`."""
    if _is_call_error(value):
        return CallFailed(value)
    if type(value).__name__.endswith("_Call") and _is_call_error(getattr(value, "value", None)):
        return CallFailed(value.value)
    return Refused(value)


def _is_call_error(value):
    return type(value).__name__.startswith("CallError_")


def _as_call_error(error):
    # Absent from worlds that name no `call-error`; such a world has nobody to tell of one.
    from wit_world.imports import types

    match type(error).__name__:
        case "StateError_TooLarge":
            return types.CallError_TooLarge(error.value)
        case "StateError_ReadOnly":
            return types.CallError_Denied("a read-only method changed the state")
        case "StateError_Conflict":
            return types.CallError_Other("somebody else wrote the state")
        case "StateError_Fenced":
            return types.CallError_Other("a newer activation owns this actor")
        case _:
            return types.CallError_Other(f"the store is unavailable: {error.value}")
