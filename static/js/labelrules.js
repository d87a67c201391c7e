// Labels chosen one by one, from what is suggested, join the list of labels. Without it, they are written there.
"use strict";

const row = document.getElementById("add-label");
const find = document.getElementById("find");
const list = document.getElementById("id_labels");

function add() {
  const label = find.value.trim();
  if (!label) return;
  list.value = [...list.value.split("\n").filter((line) => line.trim()), label].join("\n");
  list.dispatchEvent(new Event("input", { bubbles: true })); // what that would change is counted anew
  find.value = "";
  find.focus();
}

row.querySelector("button").addEventListener("click", add);
find.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  add();
});
row.hidden = false;
