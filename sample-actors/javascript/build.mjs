// Builds one actor: node build.mjs SOURCE WIT WORLD OUTPUT, in a folder that all of them are in.
// scripts/build-languages.sh copies this to where componentize-js is installed.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, worldName, output] = process.argv.slice(2);
// What is left is `stdio`, so that an error's message reaches the silo.
const disableFeatures = ['random', 'clocks', 'http', 'fetch-event'];
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
await writeFile(output, component);
