// A person with a browser uses an application that logs in through Latchkey:
// login, what the application knows of the person, refresh, logout. Once for
// each person given; prints what worked, also when something did not.
//   node browse.mjs '{"application", "provider", "people"}'
import { strict as assert } from 'node:assert';
import { logInAtOP, open, withBrowser } from '../e2e/browser.mjs';

const { application, provider, people } = JSON.parse(process.argv[2]);
const { base, lands = `^${base}/` } = application;
const worked = {};

async function until(what, ready) {
  for (let i = 0; i < 300; i++) {
    if (await ready()) return;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  assert.fail(`it does not come to this: ${what}`);
}

// arrive presses on at the provider's own questions, each once, until the
// browser is there. A page that goes on by itself may do so before it is pressed.
async function arrive(page, what, there) {
  const answered = [];
  await until(what, async () => {
    const at = page.url();
    if (there(new URL(at))) return true;
    const yes = page.getByRole('button', { name: /^(Continue|Log out|Yes, sign me out)$/ });
    if (new URL(at).origin === provider.origin && !answered.includes(at) && await yes.isVisible()) {
      await yes.click({ timeout: 1000 }).then(() => answered.push(at), () => {});
    }
    return false;
  });
}

// toLogin begins at the application and ends at the provider's login.
async function toLogin(page) {
  await page.goto(base + application.login, { waitUntil: 'commit' }); // a page may lead on at once
  if (application.press) await page.click(application.press);
  await page.waitForURL((url) => url.origin === provider.origin);
}

async function logIn(page, person, known) {
  await toLogin(page);
  if (provider.control) {
    await logInAtOP(page, provider.origin, person.username);
  } else if (person.password) {
    await page.fill('#username', person.username);
    await page.fill('#password', person.password);
    await page.click('button:text-is("Log in")');
  } else {
    await page.click(`text=Continue with ${provider.idp.name}`);
    // The IdP's own session lives on.
    if (!known) await logInAtOP(page, provider.idp.origin, person.username);
  }
  await arrive(page, 'the browser is back at the application', (url) => new RegExp(lands).test(url.href));
  const me = await read(page, application.me);
  assert.equal(application.username.split('.').reduce((at, name) => at?.[name], me), person.username, `${application.me} tells ${JSON.stringify(me)}`);
  assert.ok(JSON.stringify(me).includes(`"${person.username}@example.org"`), `the e-mail address is in ${JSON.stringify(me)}`);
}

// read is an answer of the application: of its server, or of its page.
async function read(page, path) {
  if (!application.inPage) {
    const res = await page.request.get(base + path, { maxRedirects: 0 });
    const text = await res.text();
    return res.ok() && text.startsWith('{') ? JSON.parse(text) : { error: `${res.status()} ${text.slice(0, 400)}` };
  }
  await page.goto(base + path);
  return JSON.parse(await page.locator('pre').innerText());
}

async function refresh(page) {
  const { watch, header, field } = application.refresh;
  if (!watch) {
    const told = await read(page, application.refresh.path);
    assert.ok(told.renewed, JSON.stringify(told));
    return;
  }
  // An application that refreshes by itself.
  const token = async () => {
    const res = await page.request.get(base + watch, { maxRedirects: 0 });
    const found = header ? res.headers()[header] : (await res.json())[field];
    assert.ok(found, `${watch} answers ${res.status()} and no token`);
    return found;
  };
  const old = await token();
  await until('the access token is another', async () => await token() !== old);
}

const loggedOut = async (page) => {
  const { error = '' } = await read(page, application.me);
  return /^401 |^not logged in/.test(error);
};

async function logOut(page) {
  const { path, press, says } = application.logout;
  await page.goto(base + path, { waitUntil: 'commit' });
  if (press) await page.click(press);
  await arrive(page, 'the browser is back at the application after the logout', (url) => url.origin === base && !(url.pathname + url.search).startsWith(path));
  if (says) assert.equal(await page.locator('pre').innerText(), '{"over":true}');
}

// endAtProvider logs out at the provider, which tells the application behind the
// person's back.
async function endAtProvider(page) {
  await page.goto(provider.origin + (provider.control ? '/session/end' : '/'));
  await page.getByRole('button', { name: /^(Log out|Yes, sign me out)$/ }).click();
  await until('the application has been told of the logout', () => loggedOut(page));
}

async function use(browser, person) {
  const done = worked[person.way] = {};
  const { page, done: close } = await open(browser, provider.origin);
  page.setDefaultTimeout(20_000);
  const step = async (name, run) => {
    try {
      await run();
    } catch (err) {
      const sees = await page.innerText('body').catch(() => '');
      throw new Error(`${person.way}, ${name}, at ${page.url()}, which says: ${sees.slice(0, 800)}`, { cause: err });
    }
    done[name] = true;
  };
  await step('login', () => logIn(page, person));
  if (application.refresh) {
    await step('refresh', async () => {
      await refresh(page);
      assert.equal(await loggedOut(page), false);
    });
  }
  if (application.logout) {
    await step('logout', async () => {
      if (application.logout.tells) { // by the application's own answer
        assert.deepEqual(await read(page, application.logout.path), { over: true });
      } else {
        await logOut(page);
      }
      assert.equal(await loggedOut(page), true);
      if (!application.logout.ends) return;
      await toLogin(page);
      await page.waitForSelector(provider.control ? 'input[name=login]' : '#password');
    });
  }
  if (application.backchannel) {
    await step('backchannel', async () => {
      if (await loggedOut(page)) await logIn(page, person, true);
      await endAtProvider(page);
    });
  }
  await close();
}

try {
  await withBrowser(async (browser) => {
    for (const person of people) await use(browser, person);
  });
} catch (err) {
  console.error(err);
  process.exitCode = 1;
}
console.log(JSON.stringify(worked));
