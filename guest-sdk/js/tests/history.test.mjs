// Reminders and journals against the host of `fakes.mjs`.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { host, layer, raised } from './fakes.mjs';

const { Actor, CallFailed, JournalFailed, ReminderRefused, actor, journal, journals, reminders, reminds } = layer;

const clock = {
  all: {},
  register(name, schedule, missed, payload) {
    if (this.error) throw raised(this.error);
    this.all[name] = [schedule.tag, schedule.val, missed, new TextDecoder().decode(payload)];
  },
};
const { once, every, cron, unregister, registered } = reminders({
  register: (...given) => clock.register(...given),
  unregister: (name) => delete clock.all[name],
  registered: () => {
    if (clock.error) throw raised(clock.error);
    return Object.keys(clock.all);
  },
});
const Clock = actor(
  class extends Actor {
    static initial = () => ({ fired: 0 });
    onReminder({ name }) {
      this.state.fired += 1;
      if (name === 'fails') throw { tag: 'failed', val: 'no' };
      unregister(name);
    }
    async wind() {
      once('soon', 5, { payload: 'p' });
      every('often', 100n);
      cron('daily', '0 8 * * *', { missed: 'skip', payload: new Uint8Array([112]) });
      return registered();
    }
  },
);

const past = { entries: [], most: 100, snapshots: 0 };
const { JournaledActor, append, read, snapshotSoon } = journal({
  append(event) {
    if (past.entries.length >= past.most) throw raised({ tag: 'unavailable', val: 'commit first' });
    past.entries.push({ sequence: BigInt(past.entries.length + 1), at: 7n, event });
    return BigInt(past.entries.length);
  },
  read(first, limit) {
    if (past.error) throw raised(past.error);
    return past.entries.slice(Number(first) - 1).slice(0, limit);
  },
  snapshotSoon: () => (past.snapshots += 1),
});
const Ledger = actor(
  class extends JournaledActor {
    static initial = () => ({ balance: 0, notes: '' });
    apply({ type, amount, note = '' }) {
      if (type === 'Closed') this.state.balance = 0;
      else if (amount < 0) throw 'there is no such amount';
      else this.state.balance += amount;
      this.state.notes += note;
    }
    deposit(...amounts) {
      return this.record(...amounts.map((amount) => ({ type: 'Deposited', amount })));
    }
    depositAllTheSame(amount) {
      try {
        this.deposit(amount);
      } catch {
        return null;
      }
    }
    past() {
      return this.recorded();
    }
  },
);
const target = journals({ ledger: Ledger });
const me = { kind: 't:t/t#ledger', key: 'a' };
const entry = (sequence, event) => ({ sequence, at: 0n, event: new Ledger('writer').encodeEvent(event) });
const deposited = (amount, note) => ({ type: 'Deposited', amount, ...(note && { note }) });
const text = (bytes) => new TextDecoder().decode(bytes);

beforeEach(() => {
  host.reset();
  Object.assign(clock, { all: {}, error: undefined });
  Object.assign(past, { entries: [], most: 100, snapshots: 0, error: undefined });
});

test('reminders are registered as the host wants them', async () => {
  assert.deepEqual(await new Clock('a').wind(), ['soon', 'often', 'daily']);
  assert.deepEqual(clock.all, {
    soon: ['once', 5n, 'fire-once', 'p'],
    often: ['every', 100n, 'fire-once', ''],
    daily: ['cron', '0 8 * * *', 'skip', 'p'],
  });
});

test('a reminder that is refused is an exception, and else the error of the method', async () => {
  clock.error = 'it is no schedule';
  assert.throws(() => once('soon', 5), (error) => error instanceof ReminderRefused && error.text === clock.error);
  assert.throws(registered, CallFailed);
  await assert.rejects(() => new Clock('a').wind(), (it) => it.tag === 'call' && it.val.val === clock.error);
});

test('a reminder is a turn of its actor', () => {
  const actor = new Clock('a');
  const target = reminds({ clock: Clock });
  const me = { kind: 't:t/t#clock', key: 'a' };
  clock.all = { soon: [] };
  target.onReminder(me, { name: 'soon', due: 1n, payload: new Uint8Array() });
  assert.deepEqual([actor.state.fired, host.sets, clock.all], [1, 1, {}]);
  assert.throws(() => target.onReminder(me, { name: 'fails' }), (error) => typeof error === 'string');
  assert.throws(() => target.onReminder({ ...me, kind: 't:t/t#other' }, { name: 'soon' }), (it) => typeof it === 'string');
});

test('an event is appended and applied, and no state is stored', () => {
  const ledger = new Ledger('a');
  assert.deepEqual([ledger.deposit(5, 6), ledger.state.balance], [2n, 11]);
  assert.deepEqual([ledger.record({ type: 'Closed' }), ledger.record()], [3n, 0n]);
  assert.deepEqual([ledger.state.balance, host.sets], [0, 0]);
  const [first, , last] = past.entries.map(({ event }) => ({ ...event, payload: text(event.payload) }));
  const contentType = 'application/json';
  assert.deepEqual(first, { name: 'Deposited', contentType, payload: '{"Deposited":{"amount":5}}' });
  assert.deepEqual(last, { name: 'Closed', contentType, payload: '"Closed"' });
  assert.throws(() => ledger.record({ amount: 1 }), TypeError);
});

test('an actor wakes by its events', () => {
  target.apply(me, entry(1n, deposited(5, 'é')));
  target.apply(me, entry(2n, deposited(6)));
  assert.deepEqual(new Ledger('a').state, { balance: 11, notes: 'é' });
  assert.equal(text(target.snapshot(me)), '{"balance":11,"notes":"é"}');
  assert.deepEqual(new Ledger('b').state, { balance: 0, notes: '' });
});

test('an actor wakes by a snapshot and what came later', () => {
  target.restore(me, new TextEncoder().encode('{"balance":10}'));
  target.apply(me, entry(8n, deposited(6)));
  assert.deepEqual(new Ledger('a').state, { balance: 16, notes: '' });
  const unread = (error) => error.includes('the snapshot of t:t/t#ledger cannot be read');
  assert.throws(() => target.restore(me, new Uint8Array([123])), unread);
});

test('an actor that refused to wake begins anew', () => {
  for (let tries = 0; tries < 2; tries += 1) {
    target.apply(me, entry(1n, deposited(5)));
    assert.throws(() => target.apply(me, entry(2n, deposited(-1))), (error) => error === 'there is no such amount');
  }
  target.apply(me, entry(1n, deposited(5)));
  assert.equal(new Ledger('a').state.balance, 5);
});

test('an event that cannot be read is named', () => {
  const event = { ...entry(1n, deposited(5)).event, payload: new Uint8Array([123]) };
  const named = (error) => error.includes('event 1 (`Deposited`) cannot be read');
  assert.throws(() => target.apply(me, { sequence: 1n, at: 0n, event }), named);
  assert.throws(() => target.apply({ ...me, kind: 't:t/t#other' }, entry(1n, deposited(5))));
  assert.throws(() => target.snapshot({ ...me, key: 'asleep' }), Error);
});

test('a first event that is refused changes nothing', () => {
  const ledger = new Ledger('a');
  past.most = 0;
  assert.throws(() => ledger.record(deposited(5)), (it) => it instanceof JournalFailed && it.error.val === 'commit first');
  assert.throws(() => ledger.deposit(5), (error) => error.tag === 'call' && error.val.tag === 'other');
  assert.equal(ledger.state.balance, 0);
  past.most = 1;
  assert.equal(ledger.deposit(5), 1n);
});

test('events are recorded all or none', () => {
  past.most = 1;
  assert.throws(() => new Ledger('a').deposit(5, 6), /event 2 of 2 that belong together was refused/);
});

test('an event that cannot be applied is a trap, whoever catches it', () => {
  const trap = /event 1 \(`Deposited`\) cannot be applied: there is no such amount/;
  assert.throws(() => new Ledger('a').deposit(-1), trap);
  past.entries = [];
  assert.throws(() => new Ledger('a').depositAllTheSame(-1), trap);
});

test('the past is read', () => {
  const ledger = new Ledger('a');
  ledger.deposit(5, 6);
  assert.deepEqual(ledger.past()[1], { sequence: 2n, at: 7n, event: deposited(6) });
  assert.equal(read(2, 1)[0].sequence, 2n);
  past.error = { tag: 'unavailable', val: 'away' };
  assert.throws(() => ledger.past(), (error) => error.tag === 'call');
});

test('others append, and ask for snapshots', () => {
  assert.equal(append('seen', new Uint8Array([1]), 'text/plain'), 1n);
  assert.deepEqual(past.entries[0].event, { name: 'seen', contentType: 'text/plain', payload: new Uint8Array([1]) });
  snapshotSoon();
  assert.equal(past.snapshots, 1);
});
