// An object store may not answer: a command says that it tries again, and for how long.
import type { ReceiverOptions, TransferEvent } from '../lib/index';
import type { Transfer } from './run';
import type { SnapshotLocation } from './snapshot-location';
import { formatDuration } from './size';

type Objects = NonNullable<ReceiverOptions['objects']>;

/** The store, with whose events the command tells people or a program that it waits for an answer. */
export function telling(objects: Objects, { on, terminal }: Pick<Transfer, 'on' | 'terminal'>): Objects {
  const show = (event: TransferEvent): void => {
    if (event.event !== 'connection') return;
    if (terminal.settings.json || terminal.settings.log) on(event);
    else if (event.state === 'back') terminal.say('The object store answers again; going on.');
    else
      terminal.say(
        { style: 'yellow', text: `No answer, trying again for ${formatDuration(event.retry_for)}.` },
        ` ${event.message}`,
      );
  };
  return { ...objects, on: show };
}

/** The location, with `telling` for its store where it has one. */
export function tellingAt<Location extends SnapshotLocation>(location: Location, transfer: Transfer): Location {
  return 'objects' in location ? { ...location, objects: telling(location.objects, transfer) } : location;
}
