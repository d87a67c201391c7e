// Choosing many photos: by click, by shift-click from the last one, or all in view. Without it, checkboxes do.
"use strict";

const selection = document.getElementById("selection");
const all = document.getElementById("choose-all");
const chosen = document.getElementById("chosen");
let last = null;

const boxes = () => [...selection.querySelectorAll("input[name=ids]")];

function count() {
  const number = boxes().filter((box) => box.checked).length;
  if (chosen) chosen.textContent = number ? `${number} chosen` : "";
}

selection.addEventListener("click", (event) => {
  if (!event.target.matches("input[name=ids]")) return;
  const list = boxes();
  if (event.shiftKey && last && list.includes(last)) {
    const [from, to] = [list.indexOf(last), list.indexOf(event.target)].sort((a, b) => a - b);
    for (const box of list.slice(from, to + 1)) box.checked = event.target.checked;
  }
  last = event.target;
  count();
});
// The way back leads to where the photo was, also where a browser loads that page of the gallery anew.
selection.addEventListener("click", (event) => {
  const link = event.target.closest("a[id]");
  if (!link) return;
  history.replaceState(history.state, "", `${link.closest("li").dataset.page}#${link.id}`);
  history.scrollRestoration = "manual"; // not as far down as it was below the pages before
});
document.getElementById(location.hash.slice(1))?.focus();
all?.addEventListener("click", () => {
  const list = boxes();
  const choose = list.some((box) => !box.checked);
  for (const box of list) box.checked = choose;
  count();
});
// Enter in the label's field corrects; the first button of the form would be another.
document.getElementById("right-label")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  selection.querySelector("button[value=correct]").click();
});
if (all) all.hidden = false;
count();
