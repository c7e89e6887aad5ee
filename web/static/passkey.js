// Forms that a passkey answers: the browser is asked by what the server says, and
// its answer is posted with the form. Where there are no passkeys the form stays as it is.
const able = window.PublicKeyCredential?.parseRequestOptionsFromJSON && PublicKeyCredential.parseCreationOptionsFromJSON;

async function ask(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST", headers: { Accept: "application/json" }, body: new URLSearchParams(new FormData(form)),
  }).catch(() => ({ status: 503 }));
  const said = await answer.json?.().catch(() => undefined);
  if (!answer.ok || !said) throw Object.assign(new Error("refused"), { code: said?.code, status: answer.status });
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
      const { failed, limited, over, trouble, wrong: badProof } = form.dataset;
      const refused = error.status && (error.status < 500 ? over : trouble);
      wrong.textContent = { wrong_password: badProof, rate_limited: limited }[error.code] ?? (refused || failed);
      wrong.hidden = false;
      button.disabled = false;
    }
  });
}
