// Sends each chosen, dropped or pasted file by itself, a few at a time, and shows its progress and then its card.
// Without this script the form works as any form does.
"use strict";

const AT_ONCE = 3;
const PAUSES = [1, 2, 4, 8, 15]; // seconds before a file whose connection was lost is sent again, each time
const PATIENCE = 15 * 60; // seconds that a file waits in all when the server says that it has too much to do
const form = document.getElementById("upload");
const cards = document.getElementById("cards");
const progress = document.getElementById("progress");
const waiting = [];
let running = 0, finished = 0, total = 0;

function add(files) {
  const items = [];
  for (const file of files) {
    const item = document.createElement("li");
    const bar = document.createElement("progress");
    const name = document.createElement("p");
    const note = document.createElement("p");
    name.textContent = file.name;
    note.className = "quiet";
    note.setAttribute("role", "status");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Sending ${file.name}`);
    item.append(name, bar, note);
    waiting.push({ file, item, bar, note, key: newKey(), lost: 0, waited: 0 });
    items.push(item);
    total += 1;
  }
  cards.prepend(...items);
  next();
}

// By its key the server knows a file that is sent again, though its answer was lost.
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID(); // not there on a plain http:// page of another machine
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function next() {
  progress.textContent = total ? `${finished} of ${total} sent` : "";
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    send(waiting.shift());
  }
}

function send(upload) {
  const { file, item, bar, note } = upload;
  const request = new XMLHttpRequest();
  const body = new FormData();
  body.append("file", file);
  request.open("POST", form.action);
  request.setRequestHeader("X-Requested-With", "upload.js");
  request.setRequestHeader("Accept", "application/json"); // for errors; a card is HTML in any case
  request.setRequestHeader("Idempotency-Key", upload.key);
  request.setRequestHeader("X-CSRFToken", form.elements.csrfmiddlewaretoken.value);
  request.upload.onprogress = (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
  };
  request.onloadend = () => {
    const again = pauseBefore(upload, request);
    if (again) {
      note.textContent = `${again.reason} Trying again in ${again.seconds} s.`;
      setTimeout(() => {
        note.textContent = "";
        bar.value = 0;
        send(upload); // in its place: the files behind it would fare no better
      }, again.seconds * 1000);
      return;
    }
    const isCard = request.getResponseHeader("X-Card") === "yes";
    if (isCard) show(item, request.responseText);
    else refuse(item, file.name, reasonOf(request));
    running -= 1;
    finished += 1;
    next();
  };
  request.send(body);
}

// Whether a file is worth sending again, and when; nothing if its answer is the last word.
function pauseBefore(upload, request) {
  if (!request.status) {
    const seconds = PAUSES[upload.lost++];
    return seconds && { seconds, reason: "The connection was lost." };
  }
  if (request.status !== 429 && request.status !== 503) return null;
  const seconds = Number(request.getResponseHeader("Retry-After"));
  upload.waited += seconds;
  return seconds && upload.waited <= PATIENCE ? { seconds, reason: "The server has too much to do." } : null;
}

function show(item, html) {
  item.innerHTML = html; // made by our own templates, which escape what users wrote
  htmx.process(item);
}

function reasonOf(request) {
  if (!request.status) return "The connection was lost. Try again.";
  if (new URL(request.responseURL).pathname === "/login") return "You have been logged out. Log in, then try again.";
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return `The server answered ${request.status}. Try again in a moment.`;
  }
}

function refuse(item, name, sentence) {
  const article = document.createElement("article");
  const heading = document.createElement("h2");
  const reason = document.createElement("p");
  article.className = "card refused";
  reason.setAttribute("role", "alert");
  heading.textContent = name;
  reason.textContent = sentence;
  article.append(heading, reason);
  item.replaceChildren(article);
}

// A dropped folder arrives as an entry that must be read; readEntries gives at most 100 at a time. What cannot be read
// is said, and the others go on.
async function filesOf(entry) {
  const files = [];
  try {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    for (;;) {
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!entries.length) break;
      for (const child of entries) files.push(...(await filesOf(child)));
    }
  } catch {
    const item = document.createElement("li");
    refuse(item, entry.name, "It could not be read.");
    cards.prepend(item);
  }
  return files;
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return add(transfer.files);
  const found = await Promise.all(entries.map(filesOf));
  add(found.flat());
}

for (const id of ["file", "folder"]) {
  const input = document.getElementById(id);
  const send = () => {
    add([...input.files]);
    input.value = "";
  };
  input.addEventListener("change", send);
  send(); // what was chosen before this script had arrived
}
form.addEventListener("submit", (event) => event.preventDefault());
form.querySelector("button").hidden = true; // choosing sends already
const folder = document.getElementById("choose-folder");
folder.addEventListener("click", () => document.getElementById("folder").click());
folder.hidden = false;
addEventListener("beforeunload", (event) => {
  if (running || waiting.length) event.preventDefault(); // the browser asks whether to leave
});
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  dropped(event.dataTransfer);
});
