// Authenticators for tests in Chromium: a virtual one for passkeys (the WebAuthn
// domain of the DevTools protocol), and an app for one-time codes (RFC 6238).
import { createHmac } from 'node:crypto';

// passkeysOf gives a page's browser an authenticator that unlocks itself. answer is
// what the person does when asked: true, or false, which is a refusal.
export async function passkeysOf(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', { options: {
    protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true,
  } });
  return {
    answer: (yes) => cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: yes }),
    credentials: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
    add: (credential) => cdp.send('WebAuthn.addCredential', { authenticatorId, credential }),
    clear: () => cdp.send('WebAuthn.clearCredentials', { authenticatorId }),
  };
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

// oneTimeCode is what an app shows for a secret as people type it, at a time in
// seconds.
export function oneTimeCode(typed, at) {
  const bits = [...typed.replaceAll(' ', '')].map((c) => alphabet.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(at / 30)));
  const sum = createHmac('sha1', key).update(counter).digest();
  const value = sum.readUInt32BE(sum[19] & 15) & 0x7fffffff;
  return String(value % 1_000_000).padStart(6, '0');
}
