// Figures open in a dialog: buttons or + - 0 zoom, arrows and fingers scroll, Escape closes.
const dialog = document.getElementById("zoom"), stage = dialog.querySelector(".stage"), image = stage.querySelector("img");
const shown = dialog.querySelector("output");
let scale = 1;
const fit = () => Math.min(1, stage.clientWidth / image.naturalWidth);
function zoom(to) {
  const x = (stage.scrollLeft + stage.clientWidth / 2) / scale, y = (stage.scrollTop + stage.clientHeight / 2) / scale;
  scale = Math.max(0.1, Math.min(8, to));
  image.style.width = image.naturalWidth * scale + "px";
  stage.scrollLeft = x * scale - stage.clientWidth / 2;
  stage.scrollTop = y * scale - stage.clientHeight / 2;
  shown.textContent = Math.round(scale * 100) + " %";
}
const actions = { in: () => zoom(scale * 1.25), out: () => zoom(scale / 1.25), fit: () => zoom(fit()), close: () => dialog.close() };
for (const button of dialog.querySelectorAll("button")) button.onclick = actions[button.dataset.do];
for (const button of document.querySelectorAll("button.figure")) button.onclick = () => {
  const own = button.querySelector("img");
  image.src = own.src;
  image.alt = own.alt;
  dialog.showModal();
  stage.focus();
  image.decode().then(() => zoom(Math.max(fit(), Math.min(1, 700 / image.naturalWidth))));
};
dialog.onkeydown = (event) => {
  const action = { "+": "in", "=": "in", "-": "out", "0": "fit" }[event.key];
  if (action && !event.ctrlKey && !event.metaKey) { event.preventDefault(); actions[action](); }
};
const closed = [];  // what is folded is printed, too
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) { part.open = true; closed.push(part); }
});
addEventListener("afterprint", () => { for (const part of closed.splice(0)) part.open = false; });
stage.onwheel = (event) => {
  if (event.ctrlKey) { event.preventDefault(); zoom(scale * (event.deltaY < 0 ? 1.15 : 1 / 1.15)); }
};
