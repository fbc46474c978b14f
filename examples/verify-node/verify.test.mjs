import assert from 'node:assert/strict';
import { createHmac, createSign, generateKeyPairSync, sign as signBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { test } from 'node:test';
import { handler } from './server.mjs';
import { HEADER, KeySet, NoKeys, Refused, verifier } from './verify.mjs';

const NOW = 1_795_000_000;
const ISSUER = 'https://sallyport.example.com';
const b64 = (v) => Buffer.from(typeof v === 'string' || Buffer.isBuffer(v) ? v : JSON.stringify(v)).toString('base64url');

// Sallyport's side: a key, its set, and tokens.
function world() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256', use: 'sig' };
  const w = { privateKey, publicKey, jwk, keys: [jwk], now: NOW, fetches: 0, down: false };
  w.set = new KeySet('https://sallyport.example.com/jwks', async () => {
    w.fetches++;
    if (w.down) throw new Error('down');
    return new Response(JSON.stringify({ keys: w.keys }), { headers: { 'cache-control': 'public, max-age=300' } });
  });
  w.claims = (more) => ({ iss: ISSUER, aud: 'tool', sub: 'u1', email: 'alice@example.com', groups: ['ops'], credential: 'attested', nbf: w.now - 5, exp: w.now + 55, ...more });
  w.sign = (claims = w.claims(), header = {}, key = privateKey) => {
    const input = `${b64({ alg: 'ES256', typ: 'sallyport+jwt', kid: 'k1', ...header })}.${b64(claims)}`;
    return `${input}.${b64(signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }))}`;
  };
  w.verify = verifier({ issuer: ISSUER, audience: 'tool', keys: w.set, now: () => w.now });
  return w;
}

test('a good assertion', async () => {
  const w = world();
  assert.deepEqual(await w.verify(w.sign()), w.claims());
});

test('attack: a forged assertion', async (t) => {
  const w = world();
  const good = w.sign();
  const [h, p, s] = good.split('.');
  const header = (change) => b64({ alg: 'ES256', typ: 'sallyport+jwt', kid: 'k1', ...change });
  const hmac = (secret) => {
    const input = `${header({ alg: 'HS256' })}.${p}`;
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`;
  };
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  const der = createSign('sha256').update(`${h}.${p}`).sign(w.privateKey);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const stray = alphabet[alphabet.indexOf(good.at(-1)) + 1];
  const bad = {
    'nothing': '', 'not a string': undefined, 'truncated': good.slice(0, -1), 'extended': `${good}A`, 'extended by a part': `${good}.AAAA`,
    're-encoded, stray bits': good.slice(0, -1) + stray, 're-encoded, padded': `${good}==`, 're-encoded, line break': `${h}.${p}\n.${s}`,
    're-encoded, JSON form': JSON.stringify({ protected: h, payload: p, signature: s }),
    'alg none': `${header({ alg: 'none' })}.${p}.`, 'alg none with a signature': `${header({ alg: 'none' })}.${p}.${s}`,
    'HS256 with the public key': hmac(w.publicKey.export({ format: 'pem', type: 'spki' })), 'HS256 with the JWK': hmac(JSON.stringify(w.jwk)),
    'ES384': w.sign(w.claims(), { alg: 'ES384' }, p384), 'DER signature': `${h}.${p}.${b64(der)}`, 'zeros': `${h}.${p}.${b64(Buffer.alloc(64))}`,
    'another kid': w.sign(w.claims(), { kid: 'k2' }), 'no kid': w.sign(w.claims(), { kid: undefined }), 'a kid that is no string': w.sign(w.claims(), { kid: 1 }),
    'a prototype as kid': w.sign(w.claims(), { kid: '__proto__' }),
    'a stranger under our kid': w.sign(w.claims(), {}, stranger), 'a key in the token': w.sign(w.claims(), { kid: 'k2', jwk: w.jwk }),
    'another typ': w.sign(w.claims(), { typ: 'JWT' }), 'crit': w.sign(w.claims(), { crit: ['b64'], b64: false }),
    'another e-mail': `${h}.${b64(w.claims({ email: 'admin@example.com' }))}.${s}`,
    'another tool': w.sign(w.claims({ aud: 'other' })), 'two tools': w.sign(w.claims({ aud: ['other', 'tool'] })), 'no tool': w.sign(w.claims({ aud: undefined })),
    'another issuer': w.sign(w.claims({ iss: 'https://evil.example.com' })),
    'expired': w.sign(w.claims({ exp: NOW - 5 })), 'no exp': w.sign(w.claims({ exp: undefined })), 'exp as text': w.sign(w.claims({ exp: '9999999999' })),
    'not valid yet': w.sign(w.claims({ nbf: NOW + 6 })), 'no nbf': w.sign(w.claims({ nbf: undefined })),
    'no subject': w.sign(w.claims({ sub: '' })), 'claims that are no object': w.sign('"alice"'), 'claims that are no JSON': w.sign('alice'),
  };
  for (const [name, token] of Object.entries(bad)) {
    await t.test(name, () => assert.rejects(w.verify(token), Refused));
  }
  assert.ok(await w.verify(good));
});

test('keys are cached, rotated and looked up again', async () => {
  const w = world();
  await Promise.all(Array.from({ length: 10 }, () => w.verify(w.sign())));
  assert.equal(w.fetches, 1);
  for (let i = 0; i < 10; i++) {
    w.now++;
    await assert.rejects(w.verify(w.sign(w.claims(), { kid: 'unknown' })), Refused);
  }
  assert.equal(w.fetches, 2, 'unknown key ids are no reason to fetch each time');
  w.keys = [{ ...w.jwk, kid: 'k2' }];
  w.now += 10;
  assert.ok(await w.verify(w.sign(w.claims(), { kid: 'k2' })), 'a key that was replaced at once is found');
  w.down = true;
  w.now += 1800;
  assert.ok(await w.verify(w.sign(w.claims(), { kid: 'k2' })), 'known keys serve for a while');
  w.now += 7200;
  await assert.rejects(w.verify(w.sign(w.claims(), { kid: 'k2' })), NoKeys);
});

test('a set without keys that can be used', async () => {
  const w = world();
  for (const keys of [[], [{ ...w.jwk, alg: 'HS256' }], [{ ...w.jwk, kid: '' }], [w.privateKey.export({ format: 'jwk' })], undefined]) {
    w.keys = keys;
    w.now += 60;
    await assert.rejects(w.verify(w.sign()), NoKeys);
  }
});

test('configuration is required', () => {
  assert.throws(() => verifier({ issuer: ISSUER, keys: world().set }), TypeError);
  assert.throws(() => verifier({ audience: 'tool', keys: world().set }), TypeError);
});

test('the server', async (t) => {
  const w = world();
  const server = createServer(handler(w.verify)).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const get = (values) => new Promise((resolve, reject) => {
    const req = request({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => { res.resume(); res.on('end', () => resolve(res.statusCode)); });
    if (values.length) req.setHeader(HEADER, values);
    req.on('error', reject);
    req.end();
  });
  assert.equal(await get([w.sign()]), 200);
  assert.equal(await get([]), 401);
  assert.equal(await get([w.sign(), w.sign()]), 401);
  assert.equal(await get([w.sign(w.claims({ aud: 'other' }))]), 401);
});

// What the product itself signs; node_test.go writes the file.
test('assertions of the product', { skip: !process.env.SALLYPORT_VECTORS && 'run by the Go test' }, async () => {
  const v = JSON.parse(readFileSync(process.env.SALLYPORT_VECTORS, 'utf8'));
  const verify = verifier({ issuer: v.issuer, audience: v.audience, keys: new KeySet(v.jwks), now: () => v.now });
  const claims = await verify(v.good);
  assert.equal(claims.sub, v.sub);
  assert.deepEqual(claims.amr, ['hwk', 'user', 'mfa']);
  for (const [name, token] of Object.entries(v.bad)) {
    await assert.rejects(verify(token), Refused, name);
  }
});
