'use strict';
// Preloaded into a receiver: before it reads the first bytes back of what it has staged, it waits. SENDALL_FAULTS_PAUSE is a directory
// in which it then writes the path of the file to `reached`, and goes on when there is a `go`.
const fs = require('node:fs');
const path = require('node:path');

const place = process.env.SENDALL_FAULTS_PAUSE ?? '';
const staged = /\/\.sendall\/(.*\/)?(stage|partial)\//;
const cell = new Int32Array(new SharedArrayBuffer(4));
let passed = false;

function wait(descriptor) {
  if (passed) return;
  const file = fs.readlinkSync(`/proc/self/fd/${descriptor}`);
  if (!staged.test(file)) return;
  passed = true;
  const draft = path.join(place, `draft-${process.hrtime.bigint()}`);
  fs.writeFileSync(draft, file);
  try {
    fs.linkSync(draft, path.join(place, 'reached'));
  } catch (error) {
    if (error.code !== 'EEXIST') throw error; // another thread was here first
  }
  while (!fs.existsSync(path.join(place, 'go'))) Atomics.wait(cell, 0, 0, 5);
}

for (const name of ['read', 'readSync']) {
  const real = fs[name];
  fs[name] = (descriptor, ...others) => {
    wait(descriptor);
    return real(descriptor, ...others);
  };
}
