#!/usr/bin/env node
import { wordsOf } from './words';

// Before tickets are hidden, which writes over what the system knows of the command line.
const words = wordsOf();

// Scripts ask for it often, and nothing of the rest is needed to answer.
if (words.length === 1 && words[0] === '--version') {
  const { version } = require('sendall/package.json') as { version: string };
  // Nobody reads it, or the disk is full: said by the exit code alone.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => (process.exitCode = code === 'EPIPE' ? 0 : 1));
  process.stdout.write(`${version}\n`);
} else {
  const { start } = require('./start') as typeof import('./start');
  start(words);
}
