// How an object store is typed: `s3://BUCKET/PREFIX`.
import { TransferError } from './errors';

/** What a URL of an object store names. */
export interface ObjectAddress {
  readonly bucket: string;
  /** Empty, or ends in a slash. */
  readonly prefix: string;
}

/** Whether this is no path of a directory. */
export function isObjectUrl(text: string): boolean {
  return /^s3:\/\//i.test(text);
}

/** Throws `usage`. */
export function parseObjectUrl(text: string): ObjectAddress {
  const [, bucket = '', path = ''] = /^s3:\/\/([^/]*)\/?(.*)$/i.exec(text) ?? [];
  if (bucket === '')
    throw new TransferError('usage', `"${text}" names no bucket.`, { hint: 'It looks like s3://BUCKET/PREFIX.' });
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket))
    throw new TransferError('usage', `No bucket can be called "${bucket}".`, {
      hint: 'It has 3 to 63 characters: lower-case letters, digits, "." and "-", the first and the last of them none of these two.',
    });
  const prefix = path.replace(/\/+$/, '');
  if (
    Buffer.byteLength(prefix) > 512 ||
    prefix.split('/').some((each) => each === '.' || each === '..') ||
    prefix.includes('//')
  )
    throw new TransferError('usage', `"${text}" has a prefix that cannot be used.`, {
      hint: 'Up to 512 bytes, with no "//", "." or ".." in it.',
    });
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/` };
}

export function formatObjectUrl({ bucket, prefix }: ObjectAddress): string {
  return `s3://${bucket}/${prefix.replace(/\/$/, '')}`;
}
