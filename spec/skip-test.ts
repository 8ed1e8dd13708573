import type { Context } from 'mocha';

/** Leaves a test out, or all of a suite whose hook calls it, and says why: what this machine, or this user, lacks. */
export function skipTest(test: Context, why: string): never {
  process.stderr.write(`      skipped: ${why}\n`);
  return test.skip();
}
