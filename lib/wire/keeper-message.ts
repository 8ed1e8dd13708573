import { optionalSizeUnder, optionalTextUnder, sizeUnder, wrong } from './fields';
import { type JsonObject, ownValue } from './json-object';
import { parseRefusal, type Refusal } from './message';
import { longestList } from './session-message';

/** By the side that was asked: a list of events, which are told as they are printed with `--json`. */
export interface EventsMessage {
  readonly type: 'told';
  readonly list: number;
}

/** By the side that was asked: all of it was done, and told. */
export interface AskDone {
  readonly type: 'done';
  /** Of a verification: how many snapshots were looked at. */
  readonly snapshots?: number;
  /** Of a verification that went on with an interrupted one: when that began, ISO 8601. */
  readonly continued?: string;
}

export type FromKeeper = EventsMessage | AskDone | Refusal | { readonly type: 'heartbeat' };

/**
 * What the side says that was asked for something, once it has answered the hello. @throws TransferError `bad-header`
 */
export function parseFromKeeper(header: JsonObject): FromKeeper {
  const type = ownValue(header, 'type');
  switch (type) {
    case 'heartbeat':
      return { type };
    case 'told':
      return { type, list: sizeUnder(header, 'list', longestList) };
    case 'refusal':
      return parseRefusal(header);
    case 'done': {
      const [snapshots, continued] = [optionalSizeUnder(header, 'snapshots'), optionalTextUnder(header, 'continued')];
      return {
        type,
        ...(snapshots === undefined ? {} : { snapshots }),
        ...(continued === undefined ? {} : { continued }),
      };
    }
    default:
      throw wrong('type', 'a message of who was asked', type);
  }
}
