import path from 'node:path';
import { TransferError } from '../errors';
import type { Listener } from '../progress';
import { scan, type ScanOptions } from '../scan/source';
import type { SourceLane } from './source-lane';

const atOnce = 512;
const tellEvery = 250;

/**
 * Adds up what is to be sent from `paths`, beside the sending, and tells how far it is as `scan`: that is what an estimate of
 * the time left needs. Stops when `signal` aborts.
 */
export async function measure(paths: readonly string[], options: ScanOptions, lane: SourceLane, on: Listener, signal: AbortSignal): Promise<void> {
  const name = path.basename(path.resolve(paths[0] ?? ''));
  let bytes = 0;
  let told = performance.now();
  const waiting: string[] = [];
  const tell = (): void => on({ event: 'progress', file_name: name, phase: 'scan', done: bytes, total: bytes });
  const flush = async (): Promise<void> => {
    bytes += await lane.measure(waiting.splice(0));
    if (performance.now() - told < tellEvery) return;
    told = performance.now();
    tell();
  };
  for await (const file of scan(paths, options)) {
    if (signal.aborted) return;
    if (!(file instanceof TransferError)) waiting.push(file.path);
    if (waiting.length >= atOnce) await flush();
  }
  await flush();
  if (!signal.aborted) tell();
}
