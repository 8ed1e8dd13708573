const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Bytes as people read them: `512 B`, `1.0 GiB`, `353 MiB`, three digits at most before the unit changes. */
export function formatSize(bytes: number): string {
  let power = 0;
  let value = bytes;
  while (value >= 999.5 && power < units.length - 1) {
    value /= 1024;
    power += 1;
  }
  return `${power === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${units[power] ?? 'B'}`;
}

/** Two numbers of bytes that a sentence compares: to the byte where they would read the same otherwise. */
export function formatSizes(one: number, other: number): readonly [one: string, other: string] {
  const texts = [formatSize(one), formatSize(other)] as const;
  return texts[0] === texts[1] && one !== other ? [`${String(one)} bytes`, `${String(other)} bytes`] : texts;
}
