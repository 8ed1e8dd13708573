import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const patience = 30_000; // ms

/** A moment between writing and reading back, in which a receiver waits for us. */
export class Pause {
  constructor(private readonly place: string) {
    mkdirSync(place);
  }

  /** What the receiver is started with. */
  get env(): NodeJS.ProcessEnv {
    return { NODE_OPTIONS: `--require ${join(__dirname, 'before-read-back.js')}`, SENDALL_FAULTS_PAUSE: this.place };
  }

  /**
   * Resolves with the path of the staged file that is about to be read back first, `unless` that ends before: then
   * undefined.
   */
  async reached(unless: Promise<unknown>): Promise<string | undefined> {
    let over = false;
    void unless.then(() => (over = true));
    const reached = join(this.place, 'reached');
    for (const began = Date.now(); Date.now() - began < patience && !over; await sleep(5))
      if (existsSync(reached)) return readFileSync(reached, 'utf8');
    return undefined;
  }

  /** Lets the receiver go on. */
  go(): void {
    writeFileSync(join(this.place, 'go'), '');
  }
}
