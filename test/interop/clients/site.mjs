// What the web applications of these tests have in common. Each is started with
// its settings as JSON and ends when its standard input does:
//   node <application>.mjs '{"base", "issuer", "client", "key"}'
// and has the pages /login, /me and, where its library offers that, /refresh
// and /logout. All but the redirects answer JSON.
import '../../e2e/node18.mjs';
import express from 'express';
import session from 'express-session';
import { webcrypto } from 'node:crypto';

globalThis.CryptoKey ??= webcrypto.CryptoKey; // Node 18 does not name it

export const { base, issuer, client, key } = JSON.parse(process.argv[2]);
export const scope = 'openid profile email';
export const callback = `${base}/callback`;

// A session per browser, in memory.
export const sessions = session({ secret: 'a secret of a test', resave: false, saveUninitialized: false, cookie: { sameSite: 'lax' } });

// begin makes the application; serve opens its door once its routes are there.
export function begin(...middleware) {
  const app = express();
  app.get('/ready', (_req, res) => { res.json({}); });
  for (const m of middleware) app.use(m);
  return app;
}

export function serve(app) {
  app.use((err, _req, res, _next) => {
    console.error(describe(err));
    res.status(500).json({ error: describe(err) });
  });
  const server = app.listen(Number(new URL(base).port), '127.0.0.1');
  server.on('error', (err) => { console.error(err.message); process.exit(1); });
  process.stdin.resume().on('end', () => process.exit(0));
}

// describe tells an error with what lies under it.
function describe(err) {
  const own = [err.code, err.error, err.error_description, err.message].filter(Boolean).join(' ');
  return err.cause instanceof Error ? `${own} < ${describe(err.cause)}` : own || String(err);
}

// who answers /me.
export function who(res, claims) {
  if (!claims) return res.status(401).json({ error: 'not logged in' });
  return res.json({ sub: claims.sub, username: claims.preferred_username, email: claims.email, name: claims.name });
}
