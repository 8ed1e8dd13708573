// One file on its way to the receiver, and what became of it.
import type { Flight, Receipt } from './api';
import type { Hashing } from './hashing';
import { Rate } from './rate';

export type UploadState =
  | { readonly is: 'waiting' }
  /** Digested before it is offered, since a file of its name is there already. */
  | { readonly is: 'hashing'; readonly hashing: Hashing }
  | { readonly is: 'sending'; readonly sending: SendingSegments }
  /** One of many in one request. */
  | { readonly is: 'batched'; readonly flight: Flight; readonly total: number }
  /** All is sent; digested to the end here, read back at the receiver. */
  | { readonly is: 'verifying'; readonly hashing: Hashing | null }
  /** Goes on by itself. */
  | { readonly is: 'pausing'; readonly why: string; readonly sent: number }
  | { readonly is: 'verified'; readonly receipt: Receipt }
  | Refused
  | { readonly is: 'cancelled' };

export interface Refused {
  readonly is: 'refused';
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
}

/** Bytes of segments: those that the receiver has, and those that are going out. */
export class SendingSegments {
  held: number;
  readonly flights = new Set<Flight>();

  constructor(held: number) {
    this.held = held;
  }

  get sent(): number {
    let sent = this.held;
    for (const flight of this.flights) sent += flight.sent;
    return sent;
  }
}

export class Upload {
  state: UploadState = { is: 'waiting' };
  /** Hex; null until the whole file was digested. */
  blake3: string | null = null;
  readonly rate = new Rate();
  readonly cancel = new AbortController();
  /** Bytes. Taken once: a browser may ask the disk each time. */
  readonly size: number;

  constructor(
    /** With `/` between folders. */
    readonly name: string,
    readonly file: File,
  ) {
    this.size = file.size;
  }

  get over(): boolean {
    const { is } = this.state;
    return is === 'verified' || is === 'refused' || is === 'cancelled';
  }

  /** Bytes that are sent or were there. */
  get sent(): number {
    const { state } = this;
    switch (state.is) {
      case 'waiting':
      case 'hashing':
      case 'refused':
      case 'cancelled':
        return 0;
      case 'sending':
        return Math.min(state.sending.sent, this.size);
      case 'batched':
        return state.total === 0 ? 0 : Math.min((this.size * state.flight.sent) / state.total, this.size);
      case 'pausing':
        return state.sent;
      case 'verifying':
      case 'verified':
        return this.size;
    }
  }
}
