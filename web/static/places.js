// On a phone the places stand in one line, of which a part is to be seen: that with the place that is open.
function show() {
  document.querySelector(".places [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}
show();
matchMedia("(min-width: 60rem)").addEventListener("change", show);
