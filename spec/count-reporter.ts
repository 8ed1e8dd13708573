import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { reporters, Runner, type MochaOptions } from 'mocha';

/** What a whole run came to. */
export interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Mocha's own spec reporter, which also leaves the counts in the file that `COUNT_FILE` names, for whoever prints the
 * last line.
 */
class CountReporter extends reporters.Spec {
  constructor(runner: Runner, options: MochaOptions) {
    super(runner, options);
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      const file = process.env['COUNT_FILE'];
      if (file === undefined) return;
      const { passes, failures, pending } = this.stats;
      const count: Count = { passed: passes, failed: failures, skipped: pending };
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${JSON.stringify(count)}\n`);
    });
  }
}

module.exports = CountReporter;
