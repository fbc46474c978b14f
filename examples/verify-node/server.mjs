// A small upstream that believes nobody but Sallyport.
//
//   node server.mjs --issuer http://localhost:8080 --audience treasury [--listen 3000] [--jwks URL]

import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { HEADER, KeySet, NoKeys, verifier } from './verify.mjs';

export function handler(verify) {
  return async (req, res) => {
    const answer = (status, text) => {
      res.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' });
      res.end(text);
    };
    // Two of them are one too many: who added the other?
    const values = req.headersDistinct[HEADER] ?? [];
    try {
      if (values.length !== 1) throw new Error('not one assertion');
      const c = await verify(values[0]);
      answer(200, `Hello ${c.email} (${c.sub}).\nGroups: ${c.groups.join(', ')}\nYour passkey is ${c.credential}.\n`);
    } catch (e) {
      console.error(`refused: ${e.message}`);
      if (e instanceof NoKeys) answer(503, 'cannot check who you are\n');
      else answer(401, 'this tool is reached through Sallyport only\n');
    }
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: {
    issuer: { type: 'string', default: 'http://localhost:8080' },
    audience: { type: 'string' },
    jwks: { type: 'string' },
    listen: { type: 'string', default: '3000' },
  } });
  if (!values.audience) {
    console.error('--audience is required: an assertion for another tool must not be accepted here');
    process.exit(2);
  }
  const jwks = values.jwks ?? `${values.issuer.replace(/\/$/, '')}/.sallyport/jwks.json`;
  const verify = verifier({ issuer: values.issuer, audience: values.audience, keys: new KeySet(jwks) });
  createServer(handler(verify)).listen(Number(values.listen), '127.0.0.1', () => {
    console.log(`serving on http://127.0.0.1:${values.listen} for the route "${values.audience}"`);
  });
}
