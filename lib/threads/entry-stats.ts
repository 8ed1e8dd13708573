/**
 * What lstat(2) tells of an entry, as far as anybody here asks: what `fs.BigIntStats` has, and what `LinuxFileCalls.look`
 * returns, which costs a third of that. Times are ns since 1970, sizes bytes, `blocks` units of 512 bytes.
 */
export interface EntryStats {
  readonly dev: bigint;
  readonly ino: bigint;
  /** The kind and the permission bits, setuid and the like included. */
  readonly mode: bigint;
  readonly nlink: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
  isFIFO(): boolean;
  isSocket(): boolean;
}

/** The fields of statx(2) that these are made of: STATX_BASIC_STATS without the access time. */
export const statxFields = 0x7ff & ~0x20;

const second = 1_000_000_000n;
const kindMask = 0o170000;
const [fifo, directory, file, symlink, socket] = [0o010000, 0o040000, 0o100000, 0o120000, 0o140000];

/** A `struct statx` of the kernel, which is the same on every machine; taken out of `memory` at once. */
export class StatxStats implements EntryStats {
  readonly ino: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  private readonly modeBits: number;
  private readonly links: number;
  private readonly owner: number;
  private readonly group: number;
  private readonly major: number;
  private readonly minor: number;

  constructor(memory: DataView) {
    this.links = memory.getUint32(0x10, true);
    this.owner = memory.getUint32(0x14, true);
    this.group = memory.getUint32(0x18, true);
    this.modeBits = memory.getUint16(0x1c, true);
    this.ino = memory.getBigUint64(0x20, true);
    this.size = memory.getBigUint64(0x28, true);
    this.blocks = memory.getBigUint64(0x30, true);
    this.ctimeNs = timeAt(memory, 0x60);
    this.mtimeNs = timeAt(memory, 0x70);
    this.major = memory.getUint32(0x88, true);
    this.minor = memory.getUint32(0x8c, true);
  }

  get mode(): bigint {
    return BigInt(this.modeBits);
  }

  get nlink(): bigint {
    return BigInt(this.links);
  }

  get uid(): bigint {
    return BigInt(this.owner);
  }

  get gid(): bigint {
    return BigInt(this.group);
  }

  /** Major and minor together, as makedev(3) does it for stat(2). */
  get dev(): bigint {
    const [major, minor] = [BigInt(this.major), BigInt(this.minor)];
    const low = ((major & 0xfffn) << 8n) | (minor & 0xffn);
    return ((major & 0xfffff000n) << 32n) | ((minor & 0xffffff00n) << 12n) | low;
  }

  isFile(): boolean {
    return (this.modeBits & kindMask) === file;
  }

  isDirectory(): boolean {
    return (this.modeBits & kindMask) === directory;
  }

  isSymbolicLink(): boolean {
    return (this.modeBits & kindMask) === symlink;
  }

  isFIFO(): boolean {
    return (this.modeBits & kindMask) === fifo;
  }

  isSocket(): boolean {
    return (this.modeBits & kindMask) === socket;
  }
}

function timeAt(memory: DataView, at: number): bigint {
  return memory.getBigInt64(at, true) * second + BigInt(memory.getUint32(at + 8, true));
}
