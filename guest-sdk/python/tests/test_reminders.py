"""Reminders against the host of `fakes`."""

import asyncio
import unittest
from dataclasses import dataclass

from fakes import Err, case, host, reminders, types

from quark_actor import Actor, CallFailed
from quark_actor import reminders as layer
from quark_actor.reminders import Missed, ReminderRefused, reminder_target

Error_Call = case("Error_Call")


@dataclass
class Count:
    fired: int = 0


class Clock(Actor, state=Count, call_error=Error_Call):
    def on_reminder(self, firing):
        self.state.fired += 1
        if firing == "fails":
            raise Err(case("Error_Own")("no"))
        layer.unregister(firing)

    def wind(self):
        layer.once("soon", 5, b"p")
        layer.every("often", 100)
        layer.cron("daily", "0 8 * * *", missed=Missed.SKIP)

    def planned(self):
        self.state.fired += 1
        return layer.registered()


class Waiting(Actor, state=Count, call_error=Error_Call):
    async def on_reminder(self, firing):
        self.state.fired += 1

    async def planned(self):
        return await layer.registered()


class Me:
    kind, key = "t:t/t#clock", "a"


class Later:
    kind, key = "t:t/t#waiting", "a"


class RemindersTest(unittest.TestCase):
    def setUp(self):
        host.reset()
        reminders.reset()

    def test_they_are_registered_as_the_host_wants_them(self):
        Clock("a").wind()
        soon = ("Schedule_Once", 5, "FIRE_ONCE", b"p")
        daily = ("Schedule_Cron", "0 8 * * *", "SKIP", b"")
        often = ("Schedule_Every", 100, "FIRE_ONCE", b"")
        self.assertEqual(reminders.all, {"soon": soon, "often": often, "daily": daily})
        self.assertEqual(Clock("a").planned(), ["soon", "often", "daily"])

    def test_what_is_refused_is_an_exception_and_else_the_error_of_the_method(self):
        reminders.error = "it is no schedule"
        with self.assertRaises(ReminderRefused) as refused:
            layer.once("soon", 5)
        self.assertEqual(refused.exception.text, "it is no schedule")
        self.assertIsInstance(refused.exception, CallFailed)
        for call in (Clock("a").wind, Clock("a").planned, lambda: asyncio.run(Waiting("a").planned())):
            with self.assertRaises(Err) as failed:
                call()
            self.assertIsInstance(failed.exception.value, Error_Call)
            self.assertIsInstance(failed.exception.value.value, types.CallError_Other)

    def test_one_is_a_turn_of_its_actor(self):
        clock, target = Clock("a"), reminder_target(Clock)()
        clock.wind()
        target.on_reminder(Me, "soon")
        self.assertEqual((clock.state.fired, host.sets, list(reminders.all)), (1, 1, ["often", "daily"]))
        with self.assertRaises(Err) as failed:
            target.on_reminder(Me, "fails")
        self.assertIsInstance(failed.exception.value, str)
        with self.assertRaises(Err):
            target.on_reminder(Later, "soon")

    def test_in_the_flavour_that_waits_it_is_awaited(self):
        waiting, target = Waiting("a"), reminder_target(Waiting)()
        self.assertTrue(target.starts)
        asyncio.run(target.on_reminder(Later, "soon"))
        self.assertEqual((waiting.state.fired, host.sets), (1, 1))
        plain = reminders.registered

        async def registered():
            return plain()

        reminders.registered = registered
        try:
            self.assertEqual(asyncio.run(waiting.planned()), [])
            reminders.error = "the store is away"
            with self.assertRaises(Err):
                asyncio.run(waiting.planned())
        finally:
            del reminders.registered


if __name__ == "__main__":
    unittest.main()
