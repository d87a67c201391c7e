// Arrow keys lead to the neighbours, unless somebody is typing; Shift and Enter correct and lead to the next.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.altKey || event.ctrlKey || event.metaKey) return;
  const relation = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  if (relation) document.querySelector(`main a[rel=${relation}]`)?.click();
});
document.getElementById("right-label")?.addEventListener("keydown", (event) => {
  const button = document.getElementById("then-next");
  if (event.key !== "Enter" || !event.shiftKey || !button) return;
  event.preventDefault();
  button.click();
});
