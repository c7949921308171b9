// A host of one actor for tests of the layer.

import { register } from 'node:module';

export const host = {
  reset() {
    Object.assign(this, { stored: undefined, sets: 0, limit: 1 << 20 });
  },
};
host.reset();

/** An error as the bindings throw it. */
export const raised = (payload) => Object.assign(new Error(), { payload });

globalThis.host = {
  get: () => host.stored,
  set: (_, value) => {
    if (value.length > host.limit) throw raised({ tag: 'too-large', val: host.limit });
    host.sets += 1;
    host.stored = value;
  },
};
const source = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const url = source('export const { get, set } = globalThis.host;');
register(
  source(`export const resolve = (name, context, next) =>
    name.startsWith('quark:') ? { url: ${JSON.stringify(url)}, shortCircuit: true } : next(name, context);`),
);
export const layer = await import('../quark-actor.js');
