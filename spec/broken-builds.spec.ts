import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { compileFunction } from 'node:vm';
import type { Edit } from '../faults/build';
import { experiments } from '../faults/experiments/index';

const dist = path.join(__dirname, '..', 'dist');

/** The files of the build that edits change, as they are afterwards. */
function changed(edits: readonly Edit[]): Map<string, string> {
  const files = new Map<string, string>();
  for (const { file, from, to } of edits) {
    const pieces = (files.get(file) ?? readFileSync(path.join(dist, file), 'utf8')).split(from);
    expect(pieces, `${from} in ${file}`).to.have.lengthOf(2);
    files.set(file, pieces.join(to));
  }
  return files;
}

describe('the builds that the fault rig breaks on purpose', () => {
  for (const { name, sabotages } of experiments)
    for (const sabotage of sabotages)
      it(`${name} can make the one in which ${sabotage.name}`, () => {
        // One that does not start is found by every experiment, and shows nothing.
        for (const [filename, code] of changed(sabotage.edits))
          compileFunction(code.replace(/^#!.*/, ''), [], { filename });
      });
});
