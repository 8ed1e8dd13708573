import { rmSync } from 'node:fs';
import { Commands } from './commands';
import type { Surroundings } from './experiment';
import type { Loans } from './loans';

/** What attempts on disks of their own have in common: what they found, and commands that end with them. */
export abstract class DiskTrials {
  readonly broken: string[] = [];
  tries = 0;
  protected readonly commands: Commands;

  constructor(
    protected readonly surroundings: Surroundings,
    protected readonly loans: Loans,
  ) {
    loans.take(() => rmSync(surroundings.directory, { recursive: true, force: true }));
    this.commands = new Commands(surroundings, loans);
  }
}
