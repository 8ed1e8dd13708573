// How a request to an object store is signed: AWS Signature Version 4, as
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html has it. Pure: the time is given.
import { createHash, createHmac } from 'node:crypto';

/** Who asks. */
export interface ObjectKeys {
  readonly accessKey: string;
  readonly secretKey: string;
  /** Of keys that hold for some hours only. */
  readonly sessionToken?: string | undefined;
}

/** One request, before it is signed. */
export interface UnsignedRequest {
  readonly method: string;
  /** As it goes out: encoded, without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** By their names in lower case, `host` among them. All of them are signed. */
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body in lower-case hex, or `UNSIGNED-PAYLOAD`. */
  readonly payload: string;
}

/** What the signature is for. */
export interface SignatureScope {
  readonly region: string;
  readonly service: string;
}

/** As S3 wants it: everything but letters, digits and `-._~` is escaped. */
export function escapeComponent(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** A query as it goes out and is signed: sorted by name. */
export function queryText(query: Readonly<Record<string, string>>): string {
  return Object.keys(query)
    .sort()
    .map((name) => `${escapeComponent(name)}=${escapeComponent(query[name] ?? '')}`)
    .join('&');
}

/** `20261129T091100Z`: a time as it is signed. */
export function signatureTime(at: Date): string {
  return at.toISOString().replace(/[-:]|\.\d+/g, '');
}

/** The value of `authorization`; `x-amz-date` has to be among the headers already. */
export function authorizationOf(
  { method, path, query, headers, payload }: UnsignedRequest,
  { region, service }: SignatureScope,
  { accessKey, secretKey }: ObjectKeys,
): string {
  const time = headers['x-amz-date'] ?? '';
  const day = time.slice(0, 8);
  const names = Object.keys(headers).sort();
  const signed = names.join(';');
  const canonical = [
    method,
    path,
    queryText(query),
    ...names.map((name) => `${name}:${(headers[name] ?? '').trim()}`),
    '',
    signed,
    payload,
  ].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const key = [day, region, service, 'aws4_request'].reduce<string | Buffer>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    `AWS4${secretKey}`,
  );
  const signature = createHmac('sha256', key).update(toSign).digest('hex');
  return `AWS4-HMAC-SHA256 Credential=${accessKey}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
}
