"""Actors that are what their events made of them, against the host of `fakes`."""

import asyncio
import json
import unittest
from dataclasses import dataclass

import fakes
from fakes import Err, case, host, journal, types

import quark_actor.journal as layer
from quark_actor import CallFailed
from quark_actor.journal import JournaledActor, JournalFailed, Recorded, journaled

Error_Call = case("Error_Call")


@dataclass
class Account:
    balance: int = 0
    notes: int = 0


@dataclass
class Deposited:
    amount: int
    note: str = ""


@dataclass
class Closed:
    pass


@dataclass
class Stranger:
    pass


class Ledger(JournaledActor, state=Account, events=[Deposited, Closed], call_error=Error_Call):
    def apply(self, event):
        if isinstance(event, Closed):
            self.state.balance = 0
        elif event.amount < 0:
            raise Err("there is no such amount")
        else:
            self.state.balance += event.amount
            self.state.notes += len(event.note)

    def deposit(self, *amounts):
        return self.record(*map(Deposited, amounts))

    def deposit_all_the_same(self, amount):
        try:
            return self.deposit(amount)
        except Exception:
            return None

    def past(self):
        return self.recorded()


class Waiting(Ledger, state=Account, events=[Deposited, Closed], call_error=Error_Call):
    async def past(self):
        return await self.recorded(2, 1)


class Me:
    kind, key = "t:t/t#ledger", "a"


class Later:
    kind, key = "t:t/t#waiting", "a"


def entries(*events):
    made = Ledger("writer")
    return [journal.Entry(at, 0, made.encode_event(event)) for at, event in enumerate(events, 1)]


class JournalTest(unittest.TestCase):
    def setUp(self):
        host.reset()
        journal.reset()
        layer._waking.clear()
        self.target = journaled(Ledger)()

    def test_an_event_is_appended_and_applied_and_no_state_is_stored(self):
        ledger = Ledger("a")
        self.assertEqual((ledger.deposit(5, 6), ledger.state.balance), (2, 11))
        self.assertEqual(ledger.record(Closed()), 3)
        self.assertEqual((ledger.state.balance, host.sets, ledger.record()), (0, 0, 0))
        stored = [(it.event.name, it.event.content_type, json.loads(it.event.payload)) for it in journal.entries]
        json_type = "application/json"
        self.assertEqual(stored[0], ("Deposited", json_type, {"Deposited": {"amount": 5, "note": ""}}))
        self.assertEqual(stored[2], ("Closed", json_type, "Closed"))

    def test_it_wakes_by_its_events(self):
        for entry in entries(Deposited(5, "é"), Deposited(6)):
            self.target.apply(Me, entry)
        ledger = Ledger("a")
        self.assertEqual(ledger.state, Account(11, 1))
        self.assertEqual(self.target.snapshot(Me), b'{"balance": 11, "notes": 1}')
        self.assertEqual(Ledger("b").state, Account())

    def test_it_wakes_by_a_snapshot_and_what_came_later(self):
        self.target.restore(Me, b'{"balance": 10, "gone": 1}')
        for entry in entries(Closed(), Deposited(6))[1:]:
            self.target.apply(Me, entry)
        self.assertEqual(Ledger("a").state, Account(16))
        with self.assertRaises(Err) as refused:
            self.target.restore(Me, b"{")
        self.assertIn("the snapshot of t:t/t#ledger cannot be read", refused.exception.value)

    def test_an_actor_that_refused_to_wake_begins_anew(self):
        good, bad = entries(Deposited(5), Deposited(-1))
        for _ in range(2):
            self.target.apply(Me, good)
            with self.assertRaises(Err) as refused:
                self.target.apply(Me, bad)
            self.assertEqual(refused.exception.value, "there is no such amount")
        self.target.apply(Me, good)
        self.assertEqual(Ledger("a").state.balance, 5)

    def test_an_event_that_cannot_be_read_is_named(self):
        [entry] = entries(Deposited(5))
        for payload in (b"{", b'{"Renamed":{}}', b'{"Deposited":{}}'):
            entry.event.payload = payload
            with self.assertRaises(Err) as refused:
                self.target.apply(Me, entry)
            self.assertIn("event 1 (`Deposited`) cannot be read", refused.exception.value)
        with self.assertRaises(Err):
            self.target.apply(Later, entry)

    def test_a_first_event_that_is_refused_changes_nothing(self):
        ledger, journal.most = Ledger("a"), 0
        with self.assertRaises(JournalFailed) as refused:
            ledger.record(Deposited(5))
        self.assertIsInstance(refused.exception, CallFailed)
        with self.assertRaises(Err) as failed:
            ledger.deposit(5)
        self.assertIsInstance(failed.exception.value.value, types.CallError_Other)
        self.assertEqual(ledger.state, Account())
        journal.most = 1
        self.assertEqual(ledger.deposit(5), 1)

    def test_events_are_recorded_all_or_none(self):
        journal.most = 1
        with self.assertRaisesRegex(RuntimeError, "event 2 of 2 that belong together was refused"):
            Ledger("a").deposit(5, 6)
        with self.assertRaises(TypeError):
            Ledger("a").record(Deposited(5), Stranger())

    def test_an_event_that_cannot_be_applied_is_a_trap_whoever_catches_it(self):
        for method in (Ledger("a").deposit, Ledger("a").deposit_all_the_same):
            with self.assertRaisesRegex(RuntimeError, "cannot be applied: there is no such amount"):
                method(-1)

    def test_the_past_is_read(self):
        ledger = Ledger("a")
        ledger.deposit(5, 6)
        self.assertEqual(ledger.past(), [Recorded(1, 7, Deposited(5)), Recorded(2, 7, Deposited(6))])
        journal.error = case("StateError_Unavailable")("away")
        with self.assertRaises(Err) as failed:
            ledger.past()
        self.assertIsInstance(failed.exception.value, Error_Call)

    def test_in_the_flavour_that_waits_it_is_awaited(self):
        fakes.journaled(wait=True)
        plain = journal.read

        async def read(first, limit):
            return plain(first, limit)

        journal.read = read
        try:
            target = journaled(Waiting)()
            self.assertTrue(target.starts)
            asyncio.run(target.restore(Later, b'{"balance": 10}'))
            asyncio.run(target.apply(Later, entries(Closed(), Deposited(6))[1]))
            waiting = Waiting("a")
            self.assertEqual(waiting.state.balance, 16)
            self.assertEqual(asyncio.run(target.snapshot(Later)), b'{"balance": 16, "notes": 0}')
            waiting.deposit(1, 2)
            self.assertEqual(asyncio.run(waiting.past()), [Recorded(2, 7, Deposited(2))])
        finally:
            del journal.read
            fakes.journaled(wait=False)

    def test_others_append_and_ask_for_snapshots(self):
        self.assertEqual(layer.append("seen", b"x", "text/plain"), 1)
        self.assertEqual(journal.entries[0].event, journal.Event("seen", "text/plain", b"x"))
        layer.snapshot_soon()
        self.assertEqual(journal.snapshots, 1)
        with self.assertRaises(LookupError):
            journaled(Ledger)().snapshot(Me)


if __name__ == "__main__":
    unittest.main()
