import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { UploadPace } from '../../lib/receive/upload-pace';

describe('the pace of uploads beside sessions', () => {
  /** Processors that idle for this share of the time. */
  const idling = (share: number) => () => ({ all: performance.now(), idle: performance.now() * share });
  /** Pieces of uploads within 600 ms, while a session brings one every 5 ms, or none. */
  const pieces = async (pace: UploadPace, moves: boolean): Promise<number> => {
    const session = moves ? setInterval(() => pace.sessionMoved(), 5) : undefined;
    // The processors are looked at twice before anything is known of them.
    const until = performance.now() + 250;
    if (moves) pace.sessionMoved();
    while (performance.now() < until) await pace.next().then(() => sleep(1));
    let count = 0;
    for (const end = performance.now() + 600; performance.now() < end; count++) await pace.next().then(() => sleep(1));
    clearInterval(session);
    return count;
  };

  it('is a piece for each four of sessions where the processors have nothing left', async () => {
    // 120 pieces of a session; timers of a busy machine bring fewer.
    expect(await pieces(new UploadPace(idling(0)), true)).to.be.within(5, 45);
  });

  it('is their own where the processors idle, and where no session moves', async () => {
    const [idle, alone] = await Promise.all([
      pieces(new UploadPace(idling(0.5)), true),
      pieces(new UploadPace(idling(0)), false),
    ]);
    expect(Math.min(idle, alone)).to.be.above(60);
  });

  it('is ten a second at least, and their own soon after a session', async () => {
    const pace = new UploadPace(idling(0));
    pace.sessionMoved();
    await sleep(1);
    const began = performance.now();
    for (let piece = 0; piece < 100; piece++) await pace.next();
    expect(performance.now() - began).to.be.below(3_000);
  });
});
