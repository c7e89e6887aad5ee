// The identity providers, as administrators see them.
export async function providers({ m, at, look, base }) {
  const new_ = `${base}/admin/providers/new`;
  await at(m, 'admin-providers', `${base}/admin/providers`);
  await at(m, 'admin-provider-configured', `${base}/admin/providers/first`);
  await at(m, 'admin-provider-new', new_);
  await m.fill('#id', 'Not An Id');
  await m.click('#next');
  await m.waitForSelector('#id-problem');
  await look(m, 'admin-provider-new-error');
  for (const kind of ['keycloak', 'kanidm']) await at(m, `admin-provider-new-${kind}`, `${new_}?kind=${kind}`);
  await m.goto(`${new_}?kind=pocketid`);
  await m.fill('#issuer', 'http://pocket.example');
  await m.fill('#client_id', 'latchkey');
  await m.fill('#client_secret', 'a secret');
  await m.fill('[name=role_map]', 'family');
  await m.click('#save');
  await m.waitForSelector('#issuer-problem');
  await look(m, 'admin-provider-form-error');
  await m.fill('#issuer', 'https://pocket.example');
  await m.fill('#client_secret', 'a secret');
  await m.fill('[name=role_map]', 'family = user');
  await m.click('#save');
  await m.waitForURL(/done=created/);
  await m.evaluate(() => { for (const e of document.querySelectorAll('details')) e.open = true; });
  await look(m, 'admin-provider');
  await m.click('#check');
  await m.waitForSelector('.findings');
  await look(m, 'admin-provider-checked');
  await m.click('#dry-run');
  await m.waitForSelector('#rules ~ .note');
  await look(m, 'admin-provider-rules');
  await m.click('details.ask > summary');
  await m.click('#delete-provider');
  await m.waitForURL(/done=deleted/);
}
