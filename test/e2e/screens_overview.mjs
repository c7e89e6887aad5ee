// The overview and the audit log: of an installation that has just begun, and of a
// lively one.
export async function overview({ browser, options, at, look, base, m, setup, user }) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const first = await context.newPage();
  await first.goto(setup);
  await first.fill('#username', user);
  await first.fill('#password', `password of ${user}`);
  await first.press('#password', 'Enter');
  await first.waitForLoadState();
  const bare = new URL(setup).origin;
  await context.clearCookies({ name: 'latchkey_setup' });
  await at(first, 'admin-overview-empty', `${bare}/admin`);
  await context.close();

  await at(m, 'admin-overview', `${base}/admin`);
  await m.click('details.figures-table > summary');
  await look(m, 'admin-overview-table');
  await at(m, 'admin-overview-week', `${base}/admin?span=7d`);
  await at(m, 'admin-overview-month', `${base}/admin?span=30d`);
  await at(m, 'admin-audit', `${base}/admin/audit`);
  await m.click('.events li:first-child summary');
  await look(m, 'admin-audit-details');
  await at(m, 'admin-audit-error', `${base}/admin/audit?user=${encodeURIComponent(user)}&to=2020-01-01x`);
  await at(m, 'admin-audit-empty', `${base}/admin/audit?ip=192.0.2.200`);
  await at(m, 'admin-audit-export', `${base}/admin/audit/export`);
}
