'use strict';
// Loads TypeScript by ts-node, and keeps what it made of each file by the file's content: the specs start a few thousand
// processes and threads, and in each of them the compiler alone would take half a second.
const { createHash } = require('node:crypto');
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const { isMainThread, threadId } = require('node:worker_threads');

const root = path.dirname(__dirname);
const place = path.join(root, 'node_modules', '.cache', 'transpiled');
const settings = ['tsconfig.json', 'package-lock.json']
  .map((name) => readFileSync(path.join(root, name), 'utf8'))
  .join('\0');
const settingsDigest = createHash('sha256').update(settings).digest('hex');
mkdirSync(place, { recursive: true });

let compiler;

/** The JavaScript of `source`; `file` is part of what it is kept under, since the source map names it. */
function transpiled(source, file) {
  const key = createHash('sha256').update([settingsDigest, file, source].join('\0')).digest('hex');
  const kept = path.join(place, `${key}.js`);
  try {
    return readFileSync(kept, 'utf8');
  } catch {
    compiler ??= require('ts-node').create({ cwd: root, transpileOnly: true });
    const code = compiler.compile(source, file);
    const partial = `${kept}.${process.pid}.${threadId}`;
    writeFileSync(partial, code);
    renameSync(partial, kept);
    return code;
  }
}

// The built command keeps what it has compiled in the cache of its user, which most specs give it anew: one for all.
process.env.NODE_COMPILE_CACHE ??= path.join(root, 'node_modules', '.cache', 'compiled');

// To read the maps is a fifth of a thread's start, and what fails in threads is told without a stack.
if (isMainThread) process.setSourceMapsEnabled(true);
const transpile = (file) => transpiled(readFileSync(file, 'utf8'), file);
Module._extensions['.ts'] = (module, file) => module._compile(transpile(file), file);
module.exports = { transpile };
