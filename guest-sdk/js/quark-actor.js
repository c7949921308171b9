// Write Quark actors in JavaScript: a class for the methods, a plain object for the state.
//
//   class Cart extends Actor {
//     static initial = () => ({ items: [] });
//
//     add(item) {
//       this.state.items.push(item);
//       return this.state.items.length;
//     }
//   }
//   export const carts = { Cart: actor(Cart) };
//
// The state is loaded when the actor wakes, and stored when it changed: before each outgoing call of
// a `proxy` and at the end of the turn, also when the turn answers an error. An `Error` that nobody
// catches is a trap: it undoes what was not committed yet. Any other value that is thrown is the
// method's `err`.

import { get, set } from 'quark:actor/state@0.1.0';

// The name of the one durable value.
const STATE = 'state';
const CALL_ERRORS = new Set([
  'deadline-exceeded', 'unknown-outcome', 'cancelled', 'failed', 'downstream', 'unreachable', 'stopped',
  'overloaded', 'unavailable', 'too-large', 'incompatible', 'deadlock', 'denied', 'other',
]);

// The actors of this instance, by class and key, for their hooks.
const actors = new Map();
// The actor whose turn runs, none while it waits for a call. Turns of one instance do not overlap.
let turn = null;

/** A call that gave no result of its own. `reason` is a `call-error`: `{ tag, val }`. */
export class CallFailed extends Error {
  constructor(reason) {
    super(reason.val === undefined ? reason.tag : `${reason.tag}: ${reason.val}`);
    this.name = 'CallFailed';
    this.reason = reason;
  }
}

/** The callee's own error, as `value`. */
export class Refused extends Error {
  constructor(value) {
    super(JSON.stringify(value, (_, it) => (typeof it === 'bigint' ? String(it) : it)));
    this.name = 'Refused';
    this.value = value;
  }
}

/** What an exported resource extends: it has `key` and `state`. */
export class Actor {
  #saved;

  /** The first state, of what JSON can hold. */
  static initial = () => ({});
  /** The methods' error for a `call-error`: by default the case `call(call-error)`. */
  static callError = (val) => ({ tag: 'call', val });

  constructor(key) {
    this.key = key;
    actorsOf(this.constructor).set(key, weakly(this));
    this.load();
  }

  load() {
    const stored = get(STATE);
    // A field that is new has its first value.
    this.state = { ...this.constructor.initial(), ...(stored && JSON.parse(new TextDecoder().decode(stored))) };
    this.#saved = JSON.stringify(this.state);
  }

  save() {
    const text = JSON.stringify(this.state);
    if (text === this.#saved) return;
    try {
      set(STATE, new TextEncoder().encode(text));
    } catch (error) {
      // The next turn starts from what the host has.
      this.load();
      throw new CallFailed(asCallError(error.payload));
    }
    this.#saved = text;
  }
}

/** The class to export: its methods are turns. Called by another method, one is a part of that one's turn. */
export function actor(Class) {
  const Exported = class extends Class {};
  for (const [name, method] of methodsOf(Class)) {
    Exported.prototype[name] = function (...args) {
      if (turn === this) return method.apply(this, args);
      turn = this;
      let answer;
      try {
        answer = method.apply(this, args);
      } catch (error) {
        return end(this, error);
      }
      if (typeof answer?.then !== 'function') return end(this, null, answer);
      return answer.then((it) => end(this, null, it), (error) => end(this, error));
    };
  }
  return Exported;
}

// Not every engine has weak references; mostly an instance has one actor.
const weakly = (it) => (globalThis.WeakRef ? new WeakRef(it) : { deref: () => it });

function actorsOf(Class) {
  if (!actors.has(Class)) actors.set(Class, new Map());
  return actors.get(Class);
}

/**
 * The interface `timer-target` of these classes (those that `actor` made, by their kinds' short names):
 * `export const timerTarget = timers({ cart: Cart })`. A timer calls `onTimer(name, payload)` of its actor.
 */
export function timers(kinds) {
  const text = (error) => {
    // The error of a timer's turn is a text.
    throw error instanceof Error || typeof error === 'string' ? error : JSON.stringify(error);
  };
  return {
    onTimer(me, name, payload) {
      const found = actorOf(kinds, me);
      if (!found) throw noClass(me);
      return settled(() => found.onTimer(name, payload), () => undefined, text);
    },
  };
}

/**
 * The functions of `quark:actor/children`, made calls: those that wait store the state of the turn before, and
 * throw `CallFailed`. `import * as host from 'quark:actor/children@0.1.0'; const { spawn, stop } = children(host)`.
 */
export function children(host) {
  const asked = (name) => (...args) => ask(() => host[name](...args));
  return { ...host, spawn: asked('spawn'), stop: asked('stop'), watch: asked('watch') };
}

/**
 * The interface `supervisor` of the parents' classes that decide about failures, as for `timers`. It calls
 * `onChildFailed(failure)`, which answers `resume`, `restart`, `stop` or `escalate`. Of other kinds the
 * manifest's strategy rules: `export const supervisor = supervises({ cart: Cart })`.
 */
export function supervises(kinds) {
  return {
    onChildFailed(me, failure) {
      const found = actorOf(kinds, me);
      return found ? settled(() => found.onChildFailed(failure), (it) => it, trap) : 'restart';
    },
  };
}

/**
 * The interface `watcher` of the classes that watch, as for `timers`: `export const watcher = watches({ cart: Cart })`. It
 * calls `onTerminated(target, reason)`.
 */
export function watches(kinds) {
  return {
    onTerminated(me, target, reason) {
      const found = actorOf(kinds, me);
      if (!found) throw new Error(noClass(me));
      return settled(() => found.onTerminated(target, reason), () => undefined, trap);
    },
  };
}

function actorOf(kinds, me) {
  const Class = kinds[me.kind.slice(me.kind.lastIndexOf('#') + 1)];
  return Class && (actorsOf(Class).get(me.key)?.deref() ?? new Class(me.key));
}

const noClass = (me) => `this component has no class for ${me.kind}`;

// What a turn answers, also if it does later.
function settled(run, answered, failed) {
  try {
    const answer = run();
    return typeof answer?.then === 'function' ? answer.then(answered, failed) : answered(answer);
  } catch (error) {
    return failed(error);
  }
}

// A hook without a result cannot answer an error.
function trap(error) {
  throw error instanceof Error ? error : new Error(JSON.stringify(error));
}

// An error commits like a result; a trap does not.
function end(actor, error, answer) {
  turn = null;
  try {
    if (!(error instanceof Error) || error instanceof CallFailed) actor.save();
  } catch (unsaved) {
    error = unsaved;
  }
  if (error instanceof CallFailed) throw actor.constructor.callError(error.reason);
  if (error !== null) throw error;
  return answer;
}

/**
 * The class of an imported kind, whose methods store the state of the turn before they call, and
 * throw `CallFailed` or `Refused`.
 */
export function proxy(Kind) {
  class Proxy {
    constructor(key) {
      this.key = key;
    }
  }
  for (const [name, method] of methodsOf(Kind)) {
    Proxy.prototype[name] = function (...args) {
      return ask(() => {
        // One for each call: once called, it is not dropped by itself, and handles are limited.
        const callee = new Kind(this.key);
        try {
          return method.apply(callee, args);
        } finally {
          callee[Symbol.dispose ?? Symbol.for('dispose')]();
        }
      });
    };
  }
  return Proxy;
}

// Calls out: the state of the turn is stored before, and others may run meanwhile.
function ask(call) {
  turn?.save();
  const waits = turn;
  turn = null;
  try {
    return call();
  } catch (error) {
    throw 'payload' in error ? failure(error.payload) : error;
  } finally {
    turn = waits;
  }
}

function methodsOf(Class) {
  return Object.getOwnPropertyNames(Class.prototype)
    .filter((name) => name !== 'constructor' && typeof Class.prototype[name] === 'function')
    .map((name) => [name, Class.prototype[name]]);
}

// A case of the callee's own that has the name of one of `call-error` cannot be told from it.
function failure(value) {
  if (value?.tag === 'call' && CALL_ERRORS.has(value.val?.tag)) return new CallFailed(value.val);
  if (CALL_ERRORS.has(value?.tag)) return new CallFailed(value);
  return new Refused(value);
}

function asCallError(error) {
  switch (error?.tag) {
    case 'too-large':
      return { tag: 'too-large', val: error.val };
    case 'read-only':
      return { tag: 'denied', val: 'a read-only method changed the state' };
    case 'conflict':
      return { tag: 'other', val: 'somebody else wrote the state' };
    case 'fenced':
      return { tag: 'other', val: 'a newer activation owns this actor' };
    default:
      return { tag: 'other', val: `the store is unavailable: ${error?.val}` };
  }
}
