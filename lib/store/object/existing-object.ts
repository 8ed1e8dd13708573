import type { ExistingContent } from '../session-store';
import type { FileRecord } from './records';

/** What a file in an object store read as, and its record then. */
export class ExistingObject implements ExistingContent {
  readonly size: number;

  constructor(
    readonly record: FileRecord,
    readonly digest: string,
  ) {
    this.size = record.size;
  }
}
