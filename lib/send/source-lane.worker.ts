import { lstatSync } from 'node:fs';
import { failureOf, type Result, serveLane } from '../threads/lane';
import { readSmallSource } from './small-source';
import type { SourceAnswer, SourceOrder } from './source-lane';

serveLane<SourceOrder, SourceAnswer>(async (orders) => {
  const results: Result<SourceAnswer>[] = [];
  for (const order of orders) {
    try {
      results.push({ answer: order.order === 'read' ? await readSmallSource(order.path) : measure(order.paths) });
    } catch (error) {
      results.push(failureOf(error));
    }
  }
  return results;
});

function measure(paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + (lstatSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
}
