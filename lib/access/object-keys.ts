// The keys of an object store, from where its users keep them: never from a command line, which everybody can read.
import { join } from 'node:path';
import { TransferError } from '../errors';
import { userDirectory } from '../user-directory';
import { readPrivateFile } from './private-file';

/** What an object store knows a user by. */
export interface KeptObjectKeys {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly sessionToken?: string | undefined;
}

/** Where an object store answers, and with which keys. */
export interface ObjectAccess {
  readonly endpoint: URL;
  readonly region: string;
  readonly keys: KeptObjectKeys;
}

/** What a command was told; each may be absent. */
export interface ObjectAccessWish {
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  /** A file of the form of `~/.aws/credentials`, readable by us alone. */
  readonly credentials?: string | undefined;
}

const usualRegion = 'us-east-1';

/**
 * Takes keys from `credentials`, else from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else from the file that
 * AWS_SHARED_CREDENTIALS_FILE names or ~/.aws/credentials, there from the profile AWS_PROFILE or `default`. The
 * endpoint is that of AWS where neither the wish nor AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names one. Throws `usage`.
 */
export function objectAccess(wish: ObjectAccessWish, env: NodeJS.ProcessEnv = process.env): ObjectAccess {
  const { AWS_DEFAULT_REGION: usual = usualRegion, AWS_REGION: here = usual } = env;
  const region = wish.region ?? here;
  const { AWS_ENDPOINT_URL: any = `https://s3.${region}.amazonaws.com`, AWS_ENDPOINT_URL_S3: set = any } = env;
  const endpoint = wish.endpoint ?? set;
  return { endpoint: parseEndpoint(endpoint), region, keys: keysFrom(wish.credentials, env) };
}

function parseEndpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const fits =
    url !== undefined &&
    (url.protocol === 'https:' || url.protocol === 'http:') &&
    url.pathname === '/' &&
    url.search === '' &&
    url.username === '' &&
    url.password === '';
  if (fits) return url;
  // A URL with keys in it is not repeated.
  throw new TransferError('usage', 'The endpoint is no URL of an object store.', {
    hint: 'It looks like https://HOST or http://HOST:PORT; keys come from the environment or from a file.',
  });
}

function keysFrom(credentials: string | undefined, env: NodeJS.ProcessEnv): KeptObjectKeys {
  const { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_SESSION_TOKEN: sessionToken } = env;
  if (credentials === undefined && accessKey && secretKey)
    return { accessKey, secretKey, ...(sessionToken ? { sessionToken } : {}) };
  const {
    AWS_SHARED_CREDENTIALS_FILE: usual = join(userDirectory(), '.aws', 'credentials'),
    AWS_PROFILE: profile = 'default',
  } = env;
  const path = credentials ?? usual;
  const text = readPrivateFile(path);
  const found = text === undefined ? undefined : profileOf(text, profile);
  const [id, secret, token] = ['aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'].map((key) =>
    found?.get(key),
  );
  if (id && secret) return { accessKey: id, secretKey: secret, ...(token ? { sessionToken: token } : {}) };
  throw new TransferError('usage', 'There are no keys for the object store.', {
    hint:
      text === undefined
        ? `Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into ${path}.`
        : `${path} has no aws_access_key_id and aws_secret_access_key under [${profile}].`,
  });
}

/** The settings under `[profile]` of an INI file. */
function profileOf(text: string, profile: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  let section = '';
  for (const line of text.split(/\r?\n/)) {
    const [, name] = /^\s*\[\s*(.*?)\s*\]\s*$/.exec(line) ?? [];
    if (name !== undefined) {
      section = name;
      continue;
    }
    const [, key, value] = /^\s*([a-z_]+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (section === profile && key !== undefined && value !== undefined) found.set(key, value);
  }
  return found;
}
