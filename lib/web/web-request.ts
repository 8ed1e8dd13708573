import type { IncomingMessage, ServerResponse } from 'node:http';

/** One of those who have shown the token asks for something. */
export interface WebRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  /** Of the path, decoded, without what stands before `api`. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
}
