// Puts a button beside what is to be copied: <p class="copy"><code data-copy="Copy" data-copied="Copied">.
for (const code of document.querySelectorAll(".copy > [data-copy]")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "secondary", textContent: code.dataset.copy });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = code.dataset.copied;
      setTimeout(() => { button.textContent = code.dataset.copy; }, 2000);
    } catch { // the browser does not permit it: what is marked can be copied by hand
      getSelection().selectAllChildren(code);
    }
  });
  if (navigator.clipboard) code.after(button);
}
