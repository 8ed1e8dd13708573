/** What has to be given back, whatever happens: mounts, processes, files. */
export class Loans {
  private readonly owed: (() => void)[] = [];

  /** Notes how something is given back. @returns what gives it back already now. */
  take(giveBack: () => void): () => void {
    this.owed.push(giveBack);
    return () => {
      const at = this.owed.indexOf(giveBack);
      if (at === -1) return;
      this.owed.splice(at, 1);
      giveBack();
    };
  }

  /** The last thing first. What cannot be given back is said, and keeps nothing else. */
  giveBackAll(): void {
    for (let giveBack = this.owed.pop(); giveBack; giveBack = this.owed.pop()) {
      try {
        giveBack();
      } catch (error) {
        process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      }
    }
  }
}

const interruptions = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs `work`, and gives back what it took: when it ends, and also when this process is interrupted or ends before. */
export async function withLoans<Result>(work: (loans: Loans) => Promise<Result>): Promise<Result> {
  const loans = new Loans();
  const atExit = (): void => loans.giveBackAll();
  const interrupted = (): never => process.exit(130);
  // What was taken last is given back first: a directory is removed when nothing is mounted below it any more.
  process.prependOnceListener('exit', atExit);
  for (const signal of interruptions) process.once(signal, interrupted);
  try {
    return await work(loans);
  } finally {
    for (const signal of interruptions) process.off(signal, interrupted);
    process.off('exit', atExit);
    loans.giveBackAll();
  }
}
