// Checks the assertions that Sallyport signs. Node's own crypto, no dependencies; made to be copied.

import { createPublicKey, verify as verifySignature } from 'node:crypto';

export const HEADER = 'x-sallyport-assertion';

const LEEWAY = 5; // seconds by which two clocks may differ
const FETCH_EVERY = 10; // seconds between two fetches, whatever key ids strangers send
const KEEP_ANYWAY = 3600; // seconds for which keys serve if the set cannot be fetched
const DEFAULT_AGE = 300;

/** The assertion is not good. */
export class Refused extends Error {}

/** Nothing can be checked at the moment. */
export class NoKeys extends Error {}

// The one spelling of base64url: no padding, no line breaks, no stray bits in the last character.
function decode(part) {
  const raw = Buffer.from(part, 'base64url');
  if (part === '' || raw.toString('base64url') !== part) throw new Refused('not base64url');
  return raw;
}

function decodeObject(part) {
  let value;
  try {
    value = JSON.parse(decode(part).toString('utf8'));
  } catch (e) {
    throw new Refused(`not JSON: ${e.message}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Refused('not an object');
  return value;
}

/**
 * Sallyport's public keys, fetched when needed and cached as long as the server says. A new
 * key is in the set before anything is signed with it. An unknown key id is a reason to
 * look again all the same, for keys that had to be replaced at once.
 */
export class KeySet {
  #url;
  #fetch;
  #keys = new Map();
  #fetched = -Infinity;
  #tried = -Infinity;
  #age = 0;
  #pending = null;

  constructor(url, fetcher = fetch) {
    this.#url = url;
    this.#fetch = fetcher;
  }

  async key(id, now) {
    const stale = now - this.#fetched >= this.#age || !this.#keys.has(id);
    if (stale && (this.#pending || now - this.#tried >= FETCH_EVERY)) {
      this.#tried = now;
      // Those who come meanwhile wait for the same answer.
      this.#pending ??= this.#load(now).finally(() => { this.#pending = null; });
      await this.#pending;
    }
    if (this.#keys.size === 0 || now - this.#fetched >= this.#age + KEEP_ANYWAY) throw new NoKeys(`no keys from ${this.#url}`);
    const key = this.#keys.get(id);
    if (!key) throw new Refused('the key is not in the set');
    return key;
  }

  async #load(now) {
    try {
      const res = await this.#fetch(this.#url, { signal: AbortSignal.timeout(5000), redirect: 'error' });
      if (!res.ok) throw new Error(`status ${res.status}`);
      const keys = new Map();
      for (const jwk of (await res.json()).keys) {
        if (jwk.kty === 'EC' && jwk.crv === 'P-256' && jwk.alg === 'ES256' && typeof jwk.kid === 'string' && jwk.kid !== '' && !('d' in jwk)) {
          keys.set(jwk.kid, createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y }, format: 'jwk' }));
        }
      }
      if (keys.size === 0) throw new Error('no key that can be used');
      const age = /(?:^|[\s,])max-age=(\d+)/.exec(res.headers.get('cache-control') ?? '');
      this.#keys = keys;
      this.#fetched = now;
      this.#age = age ? Math.min(Number(age[1]), 3600) : DEFAULT_AGE;
    } catch (e) {
      console.error(`key set of Sallyport: ${e.message}`);
    }
  }
}

/**
 * Returns a function that checks an assertion and returns its claims, or throws Refused or NoKeys.
 *
 *   issuer    external_url of Sallyport
 *   audience  name of the route that leads to this tool
 *   keys      a KeySet
 *   now       seconds since 1970; the clock if not given
 */
export function verifier({ issuer, audience, keys, now = () => Date.now() / 1000 }) {
  if (!issuer || !audience || !keys) throw new TypeError('issuer, audience and keys are required');
  return async function verify(token) {
    if (typeof token !== 'string' || token.length > 16384) throw new Refused('not a token');
    const parts = token.split('.');
    if (parts.length !== 3) throw new Refused('not a token');
    const header = decodeObject(parts[0]);
    // Decided here and not by the token: with "none", or HS256 and the public key as its secret,
    // anybody can sign.
    if (header.alg !== 'ES256') throw new Refused('not ES256');
    // An ID token is not an assertion.
    if (header.typ !== 'sallyport+jwt') throw new Refused('not an assertion');
    if ('crit' in header) throw new Refused('an extension that is not known');
    if (typeof header.kid !== 'string') throw new Refused('no key id');
    const signature = decode(parts[2]);
    const key = await keys.key(header.kid, now());
    const signed = Buffer.from(`${parts[0]}.${parts[1]}`, 'ascii');
    if (signature.length !== 64 || !verifySignature('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)) {
      throw new Refused('the signature is wrong');
    }
    const claims = decodeObject(parts[1]);
    const at = now();
    if (claims.iss !== issuer) throw new Refused('another issuer');
    if (claims.aud !== audience) throw new Refused('for another tool');
    if (!Number.isFinite(claims.nbf) || at + LEEWAY < claims.nbf) throw new Refused('not valid yet');
    if (!Number.isFinite(claims.exp) || at - LEEWAY >= claims.exp) throw new Refused('expired');
    if (typeof claims.sub !== 'string' || claims.sub === '') throw new Refused('no subject');
    return claims;
  };
}
