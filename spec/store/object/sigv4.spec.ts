import { expect } from 'chai';
import { authorizationOf, escapeComponent, queryText, signatureTime } from '../../../lib/store/object/sigv4';

const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

describe('a signed request', () => {
  // From "Examples: Signature Calculations" of the S3 documentation, with the keys that are printed there.
  const keys = { accessKey: 'AKIAIOSFODNN7EXAMPLE', secretKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
  const headers = {
    host: 'examplebucket.s3.amazonaws.com',
    'x-amz-content-sha256': empty,
    'x-amz-date': '20130524T000000Z',
  };
  const scope = { region: 'us-east-1', service: 's3' };

  it('has the signature of the documentation, with a header and with a query', () => {
    const get = {
      method: 'GET',
      path: '/test.txt',
      query: {},
      headers: { ...headers, range: 'bytes=0-9' },
      payload: empty,
    };
    expect(authorizationOf(get, scope, keys)).to.equal(
      'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, ' +
        'SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, ' +
        'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    );
    const list = { method: 'GET', path: '/', query: { prefix: 'J', 'max-keys': '2' }, headers, payload: empty };
    expect(authorizationOf(list, scope, keys)).to.contain(
      'Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    );
  });

  it('escapes what URLs leave alone and S3 does not, and sorts its query', () => {
    expect(escapeComponent("a b/ü!*'()~")).to.equal('a%20b%2F%C3%BC%21%2A%27%28%29~');
    expect(queryText({ b: '1', a: 'x y', 'A-': '' })).to.equal('A-=&a=x%20y&b=1');
    expect(signatureTime(new Date('2026-11-29T09:11:00.123Z'))).to.equal('20261129T091100Z');
  });
});
