// A second click on a form under way would ask for what the first has used up.
let sent = -Infinity;
document.addEventListener("submit", (event) => {
  if (event.timeStamp - sent < 3000) event.preventDefault();
  else sent = event.timeStamp;
});
