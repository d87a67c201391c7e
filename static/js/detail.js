// Arrow keys lead to the neighbours, unless somebody is typing.
"use strict";

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.altKey || event.ctrlKey || event.metaKey) return;
  const relation = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  if (relation) document.querySelector(`main a[rel=${relation}]`)?.click();
});
