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

// Small files are read by system calls that do not go through fs, and are caught in their module: the program in one file, which
// has no modules, is kept out of sight.
const { existsSync } = fs;
fs.existsSync = (file) => !String(file).includes(`${path.sep}bundled${path.sep}`) && existsSync(file);
const Module = require('node:module');
const load = Module._load;
Module._load = function (request, ...others) {
  const loaded = load.call(this, request, ...others);
  if (request.endsWith('/many-reader') && !loaded.ManyReader.waits) {
    loaded.ManyReader.waits = true;
    const real = loaded.ManyReader.prototype.digests;
    loaded.ManyReader.prototype.digests = function (descriptors, ...more) {
      if (descriptors.length > 0) wait(descriptors[0]);
      return real.call(this, descriptors, ...more);
    };
  }
  return loaded;
};

for (const name of ['read', 'readSync']) {
  const real = fs[name];
  fs[name] = (descriptor, ...others) => {
    wait(descriptor);
    return real(descriptor, ...others);
  };
}
