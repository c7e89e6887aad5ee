// Forms that a passkey answers: the browser is asked by what the server says, and
// its answer is posted with the form. Where there are no passkeys the form stays as it is.
const able = window.PublicKeyCredential?.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON;

async function ask(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST", headers: { Accept: "application/json" }, body: new URLSearchParams(new FormData(form)),
  });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.code), { code: said.code });
  if (form.dataset.passkey === "create") {
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(said) });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(said) });
}

for (const form of able ? document.querySelectorAll("form[data-passkey]") : []) {
  const wrong = form.querySelector("[role=alert][hidden]"), button = form.querySelector("button");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.hidden = true;
    try {
      const credential = await ask(form);
      form.elements.credential.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch (error) {
      const { failed } = form.dataset;
      wrong.textContent = { wrong_password: form.dataset.wrong, rate_limited: form.dataset.limited }[error.code] ?? failed;
      wrong.hidden = false;
      button.disabled = false;
    }
  });
}
