'use strict';
// Preloaded into a receiver: keeps in the file SENDALL_FAULTS_THREAD for how long, in ms of processor time, its main thread once
// worked without letting others have their turn. Processor time, since a busy machine takes any thread away for longer.
const fs = require('node:fs');
const { isMainThread } = require('node:worker_threads');

const place = process.env.SENDALL_FAULTS_THREAD;
if (isMainThread && place) {
  const schedstat = fs.openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  const bytes = Buffer.alloc(64);
  const worked = () => {
    const length = fs.readSync(schedstat, bytes, 0, bytes.length, 0);
    return Number(bytes.toString('latin1', 0, length).split(' ')[0]) / 1e6;
  };
  let last = worked();
  const look = () => {
    const now = worked();
    const took = now - last;
    // The experiment sets it back for each message.
    if (took > 5 && took > Number(fs.readFileSync(place, 'latin1'))) fs.writeFileSync(place, took.toFixed(1));
    last = worked();
  };
  // What it took to start is nobody's message.
  setTimeout(() => {
    last = worked();
    fs.writeFileSync(place, '0');
    setInterval(look, 1).unref();
  }, 1_500).unref();
}
