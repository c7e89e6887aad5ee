// oidc-provider is made for Node 22. Debian 12 has Node 18: this gives it the
// three things of the platform that it uses and Node 18 lacks. Newer ones get
// nothing.
import * as crypto from 'node:crypto';
import { register } from 'node:module';

globalThis.crypto ??= crypto.webcrypto;
URL.parse ??= (text, base) => { try { return new URL(text, base); } catch { return null; } };

if (!crypto.hash) {
  const asModule = (source) => `data:text/javascript,${encodeURIComponent(source)}`;
  const withHash = asModule(`
    import { createHash } from 'node:crypto';
    export * from 'node:crypto';
    export const hash = (name, data, encoding = 'hex') => {
      const digest = createHash(name).update(data).digest();
      return encoding === 'buffer' ? digest : digest.toString(encoding);
    };
  `);
  register(asModule(`
    export const resolve = (name, context, next) => name === 'node:crypto' && context.parentURL?.includes('/node_modules/oidc-provider/')
      ? { url: ${JSON.stringify(withHash)}, shortCircuit: true } : next(name, context);
  `));
}
