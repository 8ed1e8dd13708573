import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sameBytes, type Row } from '../contest';
import { crowdFiles, sendCrowd } from '../crowd';
import { watchPeak } from '../memory';
import { startReceiver } from '../sendall';
import { from, mebi, type Goal, type Outcome, type Scenario, type Settings } from './settings';

const senders = 200;

/** 200 senders of 1 MiB at once. */
export const crowd: Scenario = {
  space: () => 2 * senders * mebi,
  async run(settings: Settings): Promise<Outcome> {
    const [directory, place] = [await from(settings, 'crowd'), join(settings.directory, 'crowd', 'to')];
    const files = crowdFiles(senders, randomBytes(mebi));
    for (const { name, bytes } of files) await writeFile(join(directory, name), Buffer.concat(bytes));
    await mkdir(place, { mode: 0o700 });
    const receiver = await startReceiver(place);
    const peak = watchPeak(receiver.pid);
    let receipts: number;
    const start = process.hrtime.bigint();
    let seconds: number;
    try {
      receipts = await sendCrowd(files, receiver.port);
      seconds = Number(process.hrtime.bigint() - start) / 1e9;
    } finally {
      await receiver.stop();
    }
    const rows: Row[] = [
      { name: `${files.length} senders of 1 MiB`, unit: 's', values: [seconds] },
      { name: 'receiver of all', unit: 'MiB', values: [peak()] },
    ];
    settings.say(`  ${receipts} of ${files.length} verified`);
    if (receipts === files.length)
      for (const { name } of files) await sameBytes(join(directory, name), join(place, name));
    const goals: Goal[] = [
      { name: 'receiver of all', unit: 'MiB', value: peak(), limit: 256 },
      { name: 'files without a receipt', unit: 'lost', value: files.length - receipts, limit: 0 },
    ];
    return { scenario: 'crowd', rows, goals };
  },
};
