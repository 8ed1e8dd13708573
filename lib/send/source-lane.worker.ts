import { failureOf, type Result, serveLane } from '../threads/lane';
import { readSmallSource, type SmallSource } from './small-source';

serveLane<string, SmallSource>(async (paths) => {
  const results: Result<SmallSource>[] = [];
  for (const path of paths) {
    try {
      results.push({ answer: await readSmallSource(path) });
    } catch (error) {
      results.push(failureOf(error));
    }
  }
  return results;
});
