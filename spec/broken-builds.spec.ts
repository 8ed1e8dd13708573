import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { experiments } from '../faults/experiments/index';

const dist = path.join(__dirname, '..', 'dist');

describe('the builds that the fault rig breaks on purpose', () => {
  for (const { name, sabotages } of experiments)
    for (const sabotage of sabotages)
      it(`${name} can make the one in which ${sabotage.name}`, () => {
        const wrong = sabotage.edits.filter(
          ({ file, from }) => readFileSync(path.join(dist, file), 'utf8').split(from).length !== 2,
        );
        expect(wrong).to.deep.equal([]);
      });
});
