// 1. A greeting over TCP, the smallest service there is: it greets whoever connects, and closes.
// It teaches: listening and accepting are two things. The system accepts up to `--backlog` connections by itself and keeps them
// waiting until the program takes them. An address that is in use is an answer, not an accident: start `listen` twice
// with the same --port. And the end of the stream is the only mark that a bare text has: who reads, reads up to there.
import { converse, printable, serve, type Serving, TransferError } from '../lib/index';

export const options = { port: 0, backlog: 5, patience: 5000 };

export function listen({ port, backlog, patience }: typeof options): Promise<Serving> {
  return serve(`127.0.0.1:${port}`, (visitor) => visitor.send(Buffer.from(`Hello, ${visitor.peer}. Good to see you.\n`)), {
    backlog,
    patience,
    failed: ({ message }, peer) => console.error(`${peer}: ${message}`),
  });
}

export async function visit({ port, patience }: typeof options): Promise<void> {
  const greeting = await converse(`tcp://127.0.0.1:${port}`, (service) => service.readToEnd(1024), { patience });
  if (greeting.length === 0) throw new TransferError('connection-lost', 'The service closed without a greeting.', { hint: '' });
  console.log(printable(greeting.toString().trimEnd()));
}
