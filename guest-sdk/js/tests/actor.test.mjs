// The layer against a host of one actor, which counts writes and can refuse them.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { host, layer } from './fakes.mjs';

const { Actor, CallFailed, Refused, actor, children, proxy, supervises, timers, watches } = layer;

let open = 0;
class Bank {
  constructor(key) {
    this.error = key;
    open += 1;
  }
  pay() {
    throw Object.assign(new Error(), { payload: this.error });
  }
  stored() {
    return new TextDecoder().decode(host.stored);
  }
  callBack() {
    return this.error();
  }
  [Symbol.dispose ?? Symbol.for('dispose')]() {
    open -= 1;
  }
}
const BankProxy = proxy(Bank);

const Cart = actor(
  class extends Actor {
    static initial = () => ({ items: [] });

    add(item) {
      return this.state.items.push(item);
    }
    addAndRefuse(item) {
      this.add(item);
      throw { tag: 'full' };
    }
    addAndTrap(item) {
      this.add(item);
      throw new Error(item);
    }
    addAndLook(item) {
      this.add(item);
      return new BankProxy('b').stored();
    }
    lookWhenCalledBack() {
      return new BankProxy(() => this.add('back') && new BankProxy('b').stored()).callBack();
    }
    pay(error) {
      new BankProxy(error).pay();
    }
    async addLater(item) {
      await null;
      return this.add(item);
    }
    async payLater(error) {
      await this.addLater('paid');
      new BankProxy(error).pay();
    }
  },
);
const items = () => new Cart('a').state.items;
const failed = { tag: 'failed', val: 'no' };

beforeEach(() => host.reset());

test('state is stored when it changed and loaded when it wakes', async () => {
  const cart = new Cart('a');
  assert.equal(cart.add('x'), 1);
  assert.deepEqual([host.sets, items()], [1, ['x']]);
  assert.equal(await cart.addLater('y'), 2);
  assert.deepEqual(items(), ['x', 'y']);
});

test('an error commits and a trap does not', () => {
  assert.throws(() => new Cart('a').addAndRefuse('x'), (error) => error.tag === 'full');
  assert.throws(() => new Cart('a').addAndTrap('y'), Error);
  assert.deepEqual(items(), ['x']);
});

test('state is stored before a call', () => {
  assert.equal(new Cart('a').addAndLook('x'), '{"items":["x"]}');
  assert.equal(host.sets, 1);
});

test('a turn that comes back meanwhile is stored at its own end', () => {
  assert.equal(new Cart('a').lookWhenCalledBack(), '{"items":["back"]}');
});

test('a failed call is the error of the method', async () => {
  for (const error of [failed, { tag: 'call', val: failed }]) {
    const told = (it) => it.tag === 'call' && it.val === failed;
    assert.throws(() => new Cart('a').pay(error), told);
    await assert.rejects(() => new Cart('a').payLater(error), told);
  }
  assert.deepEqual([items(), open], [['paid', 'paid'], 0]);
});

test("the callee's own error is an exception", () => {
  assert.throws(() => new Cart('a').pay({ tag: 'poor', val: 5n }), Refused);
  assert.throws(() => new BankProxy(failed).pay(), CallFailed);
});

test('state that is refused is told and undone', () => {
  const cart = new Cart('a');
  cart.add('x');
  host.limit = 20;
  assert.throws(() => cart.add('long'.repeat(10)), (it) => it.tag === 'call' && it.val.tag === 'too-large');
  assert.deepEqual(cart.state.items, ['x']);
});

test('a timer is a turn of its actor', () => {
  const Drum = actor(
    class Drum extends Actor {
      static initial = () => ({ count: 0 });
      onTimer(name, payload) {
        this.state.count += payload.length;
        if (name === 'failing') throw { tag: 'failed', val: 'no' };
      }
    },
  );
  const drum = new Drum('a');
  const target = timers({ drum: Drum });
  const me = { kind: 't:t/t#drum', key: 'a' };
  target.onTimer(me, 'beat', new Uint8Array(2));
  assert.equal(drum.state.count, 2);
  assert.equal(host.sets, 1);
  assert.throws(() => target.onTimer(me, 'failing', new Uint8Array(1)), (error) => typeof error === 'string');
  assert.throws(() => target.onTimer({ ...me, kind: 't:t/t#other' }, 'beat', new Uint8Array(1)));
});

const Parent = actor(
  class Parent extends Actor {
    static initial = () => ({ seen: [] });
    take(host, child) {
      this.state.seen.push('took');
      const { spawn, stop, all, watch, unwatch } = children(host);
      spawn(child, 'permanent');
      watch(child);
      unwatch(child);
      stop(child);
      return all();
    }
    onChildFailed({ reason }) {
      this.state.seen.push(reason);
      return 'stop';
    }
    async onTerminated(target, reason) {
      this.state.seen.push(`${target.key}: ${reason}`);
    }
  },
);
const me = { kind: 't:t/t#parent', key: 'a' };
const other = { ...me, kind: 't:t/t#other' };
const seen = () => new Parent('a').state.seen;

test('children are spawned, stopped and watched by calls', () => {
  const asked = [];
  const stored = () => new TextDecoder().decode(host.stored);
  const ask = (name) => (...args) => void asked.push([name, ...args, stored()]);
  const fake = { spawn: ask('spawn'), stop: ask('stop'), watch: ask('watch'), unwatch: ask('unwatch'), all: () => ['b'] };
  assert.deepEqual(new Parent('a').take(fake, 'b'), ['b']);
  const names = [['spawn', 'b', 'permanent'], ['watch', 'b'], ['unwatch', 'b'], ['stop', 'b']];
  assert.deepEqual(asked, names.map((it) => [...it, '{"seen":["took"]}']));
  const refuses = { ...fake, spawn: () => { throw Object.assign(new Error(), { payload: failed }); } };
  assert.throws(() => new Parent('a').take(refuses, 'b'), (error) => error.tag === 'call' && error.val === failed);
  assert.throws(() => children(refuses).spawn('b', 'permanent'), CallFailed);
});

test('a failure of a child is a turn that decides', () => {
  const parent = new Parent('a');
  const target = supervises({ parent: Parent });
  assert.equal(target.onChildFailed(me, { reason: 'fell' }), 'stop');
  assert.deepEqual([parent.state.seen, seen()], [['fell'], ['fell']]);
  assert.equal(target.onChildFailed(other, { reason: 'fell' }), 'restart');
  host.limit = 20;
  assert.throws(() => target.onChildFailed(me, { reason: 'long'.repeat(10) }), Error);
});

test('a termination is a turn', async () => {
  const parent = new Parent('a');
  const target = watches({ parent: Parent });
  assert.equal(await target.onTerminated(me, { key: 'b' }, 'stopped'), undefined);
  assert.deepEqual([parent.state.seen, seen()], [['b: stopped'], ['b: stopped']]);
  host.limit = 20;
  await assert.rejects(() => target.onTerminated(me, { key: 'b' }, 'long'.repeat(10)), Error);
  assert.throws(() => target.onTerminated(other, { key: 'b' }, 'stopped'), Error);
});
