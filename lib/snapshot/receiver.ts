import { createReceiver as createPlainReceiver, type Receiver, type ReceiverOptions } from '../receive/receiver';
import type { SnapshotStages } from './backup/snapshot-stages';
import { AskedSnapshots } from './remote/asked';

/** Ms after which a receiver loads what snapshots need, and between its parts: peers have their turn in between. */
const loadsAfter = 10_000;
const loadsEvery = 1_000;

/**
 * What makes snapshots, and answers questions about them: a third of all that a receiver loads, and most receivers
 * never need it. It is not left until somebody comes, either: another version may be installed by then.
 */
const parts = {
  stages: () => require('./backup/snapshot-stages') as typeof import('./backup/snapshot-stages'),
  answers: () => require('./remote/answer') as typeof import('./remote/answer'),
};

/** Opens a directory for receiving files and backups. Rejects with `directory` when it is unsafe or in use. */
export async function createReceiver(options: ReceiverOptions): Promise<Receiver> {
  let made: SnapshotStages | undefined;
  const stages = (): SnapshotStages => (made ??= new (parts.stages().SnapshotStages)(options.on ?? (() => undefined)));
  const receiver = await createPlainReceiver(options, {
    openStage: (request) => stages().take(request),
    serve: (serving) =>
      new AskedSnapshots(serving, {
        answer: (...asked) => parts.answers().answerAsk(...asked),
        source: (...asked) => parts.answers().restoreSource(...asked),
      }),
  });
  const loading = [parts.stages, parts.answers].map((load, at) =>
    setTimeout(load, loadsAfter + at * loadsEvery).unref(),
  );
  return {
    listen: (address, announced) => receiver.listen(address, announced),
    once: () => receiver.once(),
    codeOver: () => receiver.codeOver(),
    dial: (where, how) => receiver.dial(where, how),
    uploads: () => receiver.uploads(),
    close: async (how) => {
      for (const timer of loading) clearTimeout(timer);
      await receiver.close(how);
      await made?.close();
    },
  };
}
