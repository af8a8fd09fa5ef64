// The mailbox in the browser: a list that keeps itself up to date, and one mail in four views. Nothing of a mail
// is ever made into elements here; its HTML is shown in a frame that may run nothing.

const POLL_MS = 2000;
const VIEWS = ["html", "text", "headers", "source"];

const at = (id) => document.getElementById(id);
const make = (tag, text = "", className = "") => {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
};

let letters = [];
let shown = null; // the mail that is open, whole
let view = "html";
let asked = 0; // counts searches, so that a late answer to an old one is dropped

// -- the list

async function refresh() {
  const mine = ++asked;
  const search = at("search").value.trim();
  try {
    const answer = await fetch(`/letters?limit=200&search=${encodeURIComponent(search)}`);
    if (!answer.ok) throw new Error(answer.status);
    const found = await answer.json();
    if (mine !== asked) return;
    list(found, search);
    at("state").className = "";
  } catch {
    at("state").textContent = "away";
    at("state").className = "away";
  }
}

function list(found, search) {
  at("state").textContent = `${found.total} in all`;
  at("none").hidden = found.letters.length > 0;
  at("none").textContent = search ? "No mail like that." : "No mail yet.";
  if (JSON.stringify(found.letters) === JSON.stringify(letters)) return;
  letters = found.letters;
  const focused = document.activeElement?.dataset?.id;
  at("list").replaceChildren(...letters.map(item));
  mark();
  if (focused) link(focused)?.focus();
}

function item(letter) {
  const anchor = make("a");
  anchor.href = `#${letter.id}`;
  anchor.dataset.id = letter.id;
  const when = make("time", time(letter.time), "when");
  when.dateTime = letter.time;
  anchor.append(
    make("span", letter.to.join(", "), "to"),
    when,
    make("span", letter.subject || "(no subject)", "subject"),
    make("span", letter.begins, "begins"),
  );
  const entry = make("li");
  entry.append(anchor);
  return entry;
}

const link = (id) => at("list").querySelector(`a[data-id="${CSS.escape(id)}"]`);

function mark() {
  for (const anchor of at("list").querySelectorAll("a")) {
    if (anchor.dataset.id === shown?.id) anchor.setAttribute("aria-current", "true");
    else anchor.removeAttribute("aria-current");
  }
}

function time(text) {
  const moment = new Date(text);
  const today = new Date().toDateString() === moment.toDateString();
  return today ? moment.toLocaleTimeString([], { timeStyle: "short" }) : moment.toLocaleDateString([], { dateStyle: "medium" });
}

// -- one mail

async function open(id) {
  if (!id) return close();
  const answer = await fetch(`/messages/${encodeURIComponent(id)}`);
  if (!answer.ok) return close();
  const found = await answer.json();
  if (location.hash.slice(1) !== id) return;
  shown = found;
  at("subject").textContent = shown.subject || "(no subject)";
  at("from").textContent = shown.from;
  at("to").textContent = shown.to.join(", ");
  at("time").textContent = new Date(shown.time).toLocaleString();
  at("time").dateTime = shown.time;
  at("choose").hidden = true;
  at("mail").hidden = false;
  document.body.classList.add("reading");
  document.title = `${shown.subject || "(no subject)"} · Mailbox`;
  mark();
  link(id)?.scrollIntoView({ block: "nearest" });
  draw();
}

function close() {
  shown = null;
  at("mail").hidden = true;
  at("choose").hidden = false;
  at("view").replaceChildren();
  document.body.classList.remove("reading");
  document.title = "Mailbox";
  mark();
}

function draw() {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.dataset.view === view;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  at("options").hidden = view !== "html";
  at("view").setAttribute("aria-label", view);
  at("view").replaceChildren({ html, text, headers, source }[view]());
}

function html() {
  if (!shown.html) return make("p", "This mail has no HTML part.", "empty");
  const frame = make("iframe");
  // No scripts, no forms, no origin; links open beside it.
  frame.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  frame.title = "The mail as HTML";
  frame.className = at("narrow").checked ? "narrow" : "";
  frame.src = `/messages/${encodeURIComponent(shown.id)}/html${at("pictures").checked ? "?pictures=1" : ""}`;
  return frame;
}

const text = () => (shown.text ? make("pre", shown.text) : make("p", "This mail has no text part.", "empty"));
const source = () => make("pre", shown.source);

function headers() {
  const table = make("table");
  for (const [name, value] of Object.entries(shown.headers)) {
    const row = make("tr");
    row.append(make("th", name), make("td", value));
    row.firstChild.scope = "row";
    table.append(row);
  }
  return table;
}

function choose(name) {
  view = name;
  if (shown) draw();
}

function step(by) {
  const place = letters.findIndex((letter) => letter.id === shown?.id);
  const next = letters[Math.min(Math.max(place + by, 0), letters.length - 1)];
  if (next) location.hash = next.id;
}

// -- what people do

addEventListener("hashchange", () => open(location.hash.slice(1)));
at("back").addEventListener("click", () => (location.hash = ""));
at("search").addEventListener("input", refresh);
for (const box of ["narrow", "pictures"]) at(box).addEventListener("change", () => shown && draw());
for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => choose(tab.dataset.view));
  tab.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    choose(VIEWS[(VIEWS.indexOf(view) + by + VIEWS.length) % VIEWS.length]);
    document.querySelector("[role=tab][aria-selected=true]").focus();
  });
}

addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (document.activeElement === at("search")) at("search").blur();
    else location.hash = "";
    return;
  }
  if (event.target === at("search") || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { j: () => step(1), k: () => step(-1), "/": () => at("search").focus() };
  const act = keys[event.key] ?? (VIEWS["1234".indexOf(event.key)] && (() => choose(VIEWS["1234".indexOf(event.key)])));
  if (!act) return;
  event.preventDefault();
  act();
});

const tick = () => document.hidden || refresh();
document.addEventListener("visibilitychange", tick);
setInterval(tick, POLL_MS);
await refresh();
await open(location.hash.slice(1));
