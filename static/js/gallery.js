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
