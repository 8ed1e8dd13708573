import { failureOf, type Result, serveTogether } from '../threads/order-worker';
import type { Located } from '../threads/walker';
import { readSmallSource, type SmallSource } from './small-source';

serveTogether<Located, SmallSource>(async (sources) => {
  const results: Result<SmallSource>[] = [];
  for (const source of sources) {
    try {
      results.push({ answer: await readSmallSource(source) });
    } catch (error) {
      results.push(failureOf(error));
    }
  }
  return results;
});
