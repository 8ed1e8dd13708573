// What a command says of an object store that is not reached: that it is tried again, and for how long.
import type { ReceiverOptions, TransferEvent } from '../lib/index';
import type { Transfer } from './run';
import type { SnapshotLocation } from './snapshot-location';
import { formatDuration } from './size';

type Objects = NonNullable<ReceiverOptions['objects']>;

/** The same store, which tells the people or the program that wait for it. */
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

/** The same for a place that need not be one. */
export function tellingAt<Location extends SnapshotLocation>(location: Location, transfer: Transfer): Location {
  return 'objects' in location ? { ...location, objects: telling(location.objects, transfer) } : location;
}
