// The set-up, as the administrator sees it.
export async function setup({ m, at, base }) {
  await at(m, 'admin-setup', `${base}/admin/setup`);
  await m.context().clearCookies({ name: 'latchkey_setup' }); // no page after it leads back
}
