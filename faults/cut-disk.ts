import { constants, copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Loans } from './loans';
import { type FileSystem, fileSystems, makeVolume, mountVolume, smallestXfs } from './volume';

/** Room for all images together, in MiB; only what is written is taken. */
const room = 8192;

/** What a disk had accepted at one instant. */
export interface Cut {
  readonly image: string;
  readonly kind: FileSystem;
}

/**
 * A disk that can lose its power: an image on a file system that copies by reference, in no time and at one instant.
 */
export interface CutDisk {
  /** Where it is mounted. */
  readonly place: string;
  /**
   * What it has at this instant, as if the power had gone; the disk itself goes on. What only a page cache has is not
   * in it.
   */
  cut(): Cut;
  close(): void;
}

/** Makes disks whose power can be cut, and looks at what is left of them. */
export class CutBench {
  private readonly images: string;
  private number = 0;

  /** `directory` is where the images are, and the places at which they are mounted. */
  constructor(
    private readonly directory: string,
    private readonly loans: Loans,
  ) {
    this.images = join(directory, 'images');
    const outer = join(directory, 'outer.image');
    loans.take(() => rmSync(outer, { force: true }));
    makeVolume(outer, 'xfs', room);
    mountVolume(outer, this.images, 'xfs', loans);
    for (const kind of fileSystems) makeVolume(join(this.images, kind), kind, smallestXfs);
  }

  /** An empty disk, mounted. */
  disk(kind: FileSystem): CutDisk {
    return this.mounted({ image: this.copy(join(this.images, kind)), kind });
  }

  /**
   * A disk after a cut, with its power back. Mounting it replays its journal. @throws Error if it cannot be mounted.
   */
  mounted({ image, kind }: Cut): CutDisk {
    const place = join(this.directory, `disk-${++this.number}`);
    const unmount = mountVolume(image, place, kind, this.loans);
    return {
      place,
      cut: () => ({ image: this.copy(image), kind }),
      close: () => {
        unmount();
        rmSync(place, { recursive: true });
        rmSync(image);
      },
    };
  }

  private copy(image: string): string {
    const copy = join(this.images, `copy-${++this.number}`);
    copyFileSync(image, copy, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
    return copy;
  }
}
