"""The layer against a host of one actor, which counts writes and can refuse them."""

import asyncio
import unittest
from dataclasses import dataclass, field

from fakes import Err, case, children, host, supervision, timers, types

import quark_actor as layer
from quark_actor import Actor, CallFailed, Refused, proxy, start_timer, stop_timer, timer_target

CartError_Call, CartError_Full = case("CartError_Call"), case("CartError_Full")


class Bank:
    def __init__(self, key):
        self.key = key

    def pay(self):
        raise Err(self.key)

    async def pay_later(self):
        raise Err(self.key)

    def stored(self):
        return host.get("state")

    def call_back(self):
        return self.key()


BankProxy = proxy(Bank)


@dataclass
class Content:
    items: list[str] = field(default_factory=list)


class Cart(Actor, state=Content, call_error=CartError_Call):
    def add(self, item):
        self.state.items.append(item)
        return len(self.state.items)

    def add_and_refuse(self, item):
        self.add(item)
        raise Err(CartError_Full())

    def add_and_trap(self, item):
        self.add(item)
        raise ValueError(item)

    def add_and_look(self, item):
        self.state.items.append(item)
        return BankProxy("b").stored()

    def look_when_called_back(self):
        return BankProxy(lambda: self.add("back") and host.get("state")).call_back()

    def pay(self, error):
        BankProxy(error).pay()

    async def pay_later(self, error):
        self.state.items.append("paid")
        await BankProxy(error).pay_later()


class Layer(unittest.TestCase):
    def setUp(self):
        host.reset()

    def error_of(self, call):
        with self.assertRaises(Err) as raised:
            call()
        return raised.exception.value

    def test_state_is_stored_when_it_changed_and_loaded_when_it_wakes(self):
        cart = Cart("a")
        self.assertEqual((cart.add("x"), host.sets), (1, 1))
        self.assertEqual(Cart("a").state.items, ["x"])
        host.stored["state"] = b'{"gone": 1}'
        self.assertEqual(Cart("a").state.items, [])

    def test_an_error_commits_and_a_trap_does_not(self):
        self.assertIsInstance(self.error_of(lambda: Cart("a").add_and_refuse("x")), CartError_Full)
        with self.assertRaises(ValueError):
            Cart("a").add_and_trap("y")
        self.assertEqual(Cart("a").state.items, ["x"])

    def test_state_is_stored_before_a_call(self):
        self.assertEqual(Cart("a").add_and_look("x"), b'{"items": ["x"]}')
        self.assertEqual(host.sets, 1)

    def test_a_turn_that_comes_back_meanwhile_is_stored_at_its_own_end(self):
        self.assertEqual(Cart("a").look_when_called_back(), b'{"items": ["back"]}')

    def test_a_failed_call_is_the_error_of_the_method(self):
        failed = types.CallError_Failed("no")
        for error in (failed, case("BankError_Call")(failed)):
            answer = self.error_of(lambda: Cart("a").pay(error))
            self.assertIsInstance(answer, CartError_Call)
            self.assertIs(answer.value, failed)
            self.assertIs(self.error_of(lambda: asyncio.run(Cart("a").pay_later(error))).value, failed)
        self.assertEqual(Cart("a").state.items, ["paid", "paid"])

    def test_the_callees_own_error_is_an_exception(self):
        with self.assertRaises(Refused):
            Cart("a").pay(case("BankError_Poor")())
        with self.assertRaises(CallFailed):
            BankProxy(types.CallError_Failed("no")).pay()

    def test_state_that_is_refused_is_told_and_undone(self):
        cart = Cart("a")
        cart.add("x")
        host.limit = 20
        answer = self.error_of(lambda: cart.add("long" * 10))
        self.assertEqual((type(answer.value).__name__, answer.value.value), ("CallError_TooLarge", 20))
        self.assertEqual(cart.state.items, ["x"])


@dataclass
class Beats:
    count: int = 0


class Drum(Actor, state=Beats):
    def on_timer(self, name, payload):
        self.state.count += len(payload)
        if name == "failing":
            raise Err(case("CallError_Failed")("no"))


class Id:
    kind, key = "t:t/t#drum", "a"


class TimersTest(unittest.TestCase):
    def setUp(self):
        host.reset()

    def test_a_timer_is_a_turn_of_its_actor(self):
        drum = Drum("a")
        target = timer_target(Drum)()
        target.on_timer(Id, "beat", b"xx")
        self.assertEqual((drum.state.count, host.sets), (2, 1))
        with self.assertRaises(Err) as failed:
            target.on_timer(Id, "failing", b"x")
        self.assertIsInstance(failed.exception.value, str)
        start_timer("beat", 5, payload=b"p")
        start_timer("beat", 5, 7)
        self.assertEqual(timers.started, [("beat", 5, None, b"p"), ("beat", 5, 7, b"")])
        self.assertTrue(stop_timer("there"))

    def test_of_several_kinds_the_one_is_found(self):
        class Other(Actor, state=Beats):
            def on_timer(self, name, payload):
                raise AssertionError("not mine")

        drum = Drum("a")
        timer_target(Other, Drum)().on_timer(Id, "beat", b"x")
        self.assertEqual(drum.state.count, 1)
        with self.assertRaises(Err):
            timer_target(Other, Other)().on_timer(Id, "beat", b"x")

        Id.kind, kind = "t:t/t#unknown", Id.kind
        try:
            with self.assertRaises(Err):
                timer_target(Drum)().on_timer(Id, "beat", b"x")
        finally:
            Id.kind = kind


@dataclass
class Fates:
    seen: list[str] = field(default_factory=list)


class Drummers(Actor, state=Fates):
    def take(self, child):
        self.state.seen.append("took")
        layer.spawn_child(child, "transient")
        layer.watch(child)
        layer.stop_child(child)
        layer.unwatch(child)
        return layer.children()

    def on_child_failed(self, failure):
        self.state.seen.append(failure)
        return supervision.Directive.STOP

    def on_terminated(self, target, reason):
        self.state.seen.append(f"{target}: {reason}")


class Waiting(Actor, state=Fates):
    async def take(self, child):
        await layer.spawn_child(child, "permanent")

    async def on_child_failed(self, failure):
        self.state.seen.append(failure)
        return supervision.Directive.ESCALATE

    async def on_terminated(self, target, reason):
        self.state.seen.append(f"{target}: {reason}")


class Parent:
    kind, key = "t:t/t#drummers", "a"


class WaitingParent:
    kind, key = "t:t/t#waiting", "a"


class ChildrenTest(unittest.TestCase):
    def setUp(self):
        host.reset()
        children.asked, children.error = [], None

    def test_what_waits_is_a_call(self):
        self.assertEqual(Drummers("a").take("b"), ["b", "c"])
        stored = b'{"seen": ["took"]}'
        asked = [("spawn", "b", "transient"), ("watch", "b"), ("stop", "b"), ("unwatch", "b")]
        self.assertEqual(children.asked, [(*it, stored) for it in asked])
        children.error = types.CallError_Denied("it has a parent")
        with self.assertRaises(Err) as refused:
            Drummers("a").take("b")
        self.assertIs(refused.exception.value, children.error)

    def test_what_waits_is_awaited(self):
        plain = children.spawn

        async def spawn(*arguments):
            plain(*arguments)

        children.spawn = spawn
        try:
            asyncio.run(Waiting("a").take("b"))
            children.error = types.CallError_Denied("it has a parent")
            with self.assertRaises(Err) as refused:
                asyncio.run(Waiting("a").take("b"))
            self.assertIs(refused.exception.value, children.error)
        finally:
            children.spawn = plain
        self.assertEqual([it[:3] for it in children.asked], [("spawn", "b", "permanent")] * 2)

    def test_a_failure_and_a_termination_are_turns(self):
        parent = Drummers("a")
        answer = layer.supervisor(Drummers)().on_child_failed(Parent, "fell")
        layer.watcher(Drummers)().on_terminated(Parent, "b", "it was stopped")
        self.assertEqual((answer, host.sets), (supervision.Directive.STOP, 2))
        self.assertEqual(parent.state.seen, ["fell", "b: it was stopped"])
        parent = Waiting("a")
        supervisor, watcher = layer.supervisor(Waiting)(), layer.watcher(Waiting)()
        self.assertTrue(supervisor.starts and watcher.starts)
        answer = asyncio.run(supervisor.on_child_failed(WaitingParent, "fell"))
        asyncio.run(watcher.on_terminated(WaitingParent, "b", "lost"))
        self.assertEqual(answer, supervision.Directive.ESCALATE)
        self.assertEqual(parent.state.seen[-2:], ["fell", "b: lost"])

    def test_other_kinds_are_left_to_the_strategy(self):
        answer = layer.supervisor(Drummers)().on_child_failed(WaitingParent, "fell")
        self.assertEqual((answer, host.sets), (supervision.Directive.RESTART, 0))
        answer = asyncio.run(layer.supervisor(Waiting)().on_child_failed(Parent, "fell"))
        self.assertEqual(answer, supervision.Directive.RESTART)
        with self.assertRaises(LookupError):
            layer.watcher(Drummers)().on_terminated(WaitingParent, "b", "lost")

    def test_a_hook_that_cannot_store_its_state_traps(self):
        host.limit = 20
        with self.assertRaises(RuntimeError):
            layer.supervisor(Drummers)().on_child_failed(Parent, "fell" * 10)
        with self.assertRaises(RuntimeError):
            layer.watcher(Drummers)().on_terminated(Parent, "b", "lost" * 10)


if __name__ == "__main__":
    unittest.main()
