import { createReceiver as createPlainReceiver, type Receiver, type ReceiverOptions } from '../receive/receiver';
import { AskedSnapshots } from './remote/asked';
import { answerAsk, restoreSource } from './remote/answer';
import { SnapshotStages } from './backup/snapshot-stages';

/** Opens a directory for receiving files and backups. Rejects with `directory` when it is unsafe or in use. */
export async function createReceiver(options: ReceiverOptions): Promise<Receiver> {
  const stages = new SnapshotStages(options.on ?? (() => undefined));
  const receiver = await createPlainReceiver(options, {
    openIntake: (request) => stages.take(request),
    serve: (serving) => new AskedSnapshots(serving, { answer: answerAsk, source: restoreSource }),
  });
  return {
    listen: (address, announced) => receiver.listen(address, announced),
    once: () => receiver.once(),
    codeOver: () => receiver.codeOver(),
    dial: (where, how) => receiver.dial(where, how),
    uploads: () => receiver.uploads(),
    close: async (how) => {
      await receiver.close(how);
      await stages.close();
    },
  };
}
