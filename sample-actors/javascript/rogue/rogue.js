// What a silo must survive of JavaScript. It uses no SDK, only the bindings of componentize-js.

import { get, set } from 'quark:actor/state@0.1.0';

class JavascriptRogue {
  pings = 0n;
  leaked = [];

  ping() {
    this.pings += 1n;
    return this.pings;
  }

  throw(message) {
    throw new Error(message);
  }

  async reject(message) {
    throw new Error(message);
  }

  async never() {
    await new Promise(() => {});
  }

  recurse() {
    this.recurse();
  }

  spin() {
    for (;;);
  }

  lie() {
    return 'no number';
  }

  leak() {
    for (;;) this.leaked.push(new Uint8Array(1 << 20));
  }

  stored() {
    return new TextDecoder().decode(get('text') ?? new Uint8Array());
  }

  store(text) {
    set('text', new TextEncoder().encode(text));
  }

  storeThenThrow(text) {
    this.store(text);
    throw new Error('stored, then threw');
  }

  async storeThenNever(text) {
    this.store(text);
    await this.never();
  }
}

export const javascriptRogues = { JavascriptRogue };
