import fc from 'fast-check';
import { join } from 'node:path';
import { modelsOf } from '../../faults/fuzz/models';
import { modulesOf } from '../../faults/fuzz/modules';

describe('what the pure code promises of any input', () => {
  for (const { name, property } of modelsOf(modulesOf(join(__dirname, '..', '..'))))
    it(name, () => fc.assert(property, { numRuns: 200 }));
});
