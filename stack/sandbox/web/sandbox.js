// The sandbox's page: asks once a second what is new, and shows it. All that arrived is shown as text, never as HTML.

const PERIOD_MS = 1000;
const ROWS = 200;
const TEXTS = new Set(["twilio", "sns"]);

const at = (id) => document.getElementById(id);
const entries = new Map();
const said = new Map();
let overview = { counts: {}, callbacks: [], scripts: [], presets: {}, events: {}, stopped: {} };
let after = 0;
let shownProvider = "";

function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

async function call(method, path, body) {
  const answer = await fetch(path, { method, body: body && JSON.stringify(body) });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

async function refresh() {
  try {
    overview = await call("GET", `/overview?after=${after}`);
    for (const entry of overview.entries) {
      entries.set(entry.seq, entry);
      after = Math.max(after, entry.seq);
    }
    for (const seq of [...entries.keys()].slice(0, -ROWS)) entries.delete(seq);
    draw();
    show("live", "live");
  } catch {
    show("away", "the sandbox is away");
  }
}

function show(state, text) {
  at("state").dataset.state = state;
  at("state").textContent = text;
}

function draw() {
  drawProviders();
  drawEntries();
  drawBreaking();
  drawPhone();
}

// Replaces children only where they changed, so that focus and scroll positions stay.
function put(parent, key, build) {
  const text = JSON.stringify(key);
  if (parent.dataset.key === text) return;
  parent.dataset.key = text;
  parent.replaceChildren(...build());
}

function drawProviders() {
  const names = Object.keys(overview.counts).sort();
  put(at("providers"), [overview.counts, shownProvider], () =>
    ["", ...names].map((name) => {
      const count = name ? overview.counts[name] : Object.values(overview.counts).reduce((a, b) => a + b, 0);
      const button = made("button", { type: "button", textContent: name || "all" });
      button.append(made("span", { className: "count", textContent: count }));
      button.setAttribute("aria-pressed", name === shownProvider);
      button.addEventListener("click", () => { shownProvider = name; draw(); });
      return button;
    }));
}

function drawEntries() {
  const shown = [...entries.values()].filter((entry) => !shownProvider || entry.provider === shownProvider).reverse();
  const told = new Map();
  for (const one of overview.callbacks) told.set(keyOf(one), [...(told.get(keyOf(one)) ?? []), one]);
  at("quiet").hidden = shown.length > 0;
  const list = at("entries");
  const before = new Map([...list.children].map((node) => [Number(node.dataset.seq), node]));
  const nodes = shown.map((entry) => {
    const node = before.get(entry.seq) ?? card(entry);
    put(node.querySelector(".tells"), told.get(keyOf(entry)) ?? [], () => (told.get(keyOf(entry)) ?? []).map(chip));
    return node;
  });
  if (nodes.length !== list.children.length || nodes.some((node, i) => node !== list.children[i])) {
    list.replaceChildren(...nodes);
  }
}

const keyOf = (one) => `${one.provider} ${one.message_id} ${one.recipient}`;

function card(entry) {
  const refused = entry.kind === "refusal";
  const head = made("div", { className: "head" },
    made("span", { className: `tag ${entry.kind}`, textContent: refused ? `${entry.provider}: ${entry.status || "no answer"}` : entry.provider }),
    made("span", { className: "to", textContent: entry.recipient || "(nobody)" }),
    made("time", { className: "time", textContent: new Date(entry.time).toLocaleTimeString([], { hour12: false }), title: entry.time }));
  const node = made("li", { className: "entry" }, head);
  node.dataset.seq = entry.seq;
  if (entry.title) node.append(made("p", { className: "title", textContent: entry.title }));
  if (entry.text) node.append(made("p", { className: "text", textContent: entry.text, tabIndex: 0 }));
  if (refused) node.append(made("p", { className: "text", textContent: JSON.stringify(entry.answer) }));
  const foot = made("div", { className: "foot" }, made("span", { className: "tells foot" }));
  if (!refused && overview.events[entry.provider] && entry.message_id) foot.append(teller(entry));
  node.append(foot);
  const ids = [entry.notification_id, entry.message_id].filter(Boolean).join(" · ");
  if (ids) node.append(made("p", { className: "id", textContent: ids }));
  return node;
}

function chip(one) {
  const status = one.status ? ` ${one.status}` : "";
  return made("span", {
    className: `told ${one.state}`,
    textContent: `${one.event}${one.signed === "right" ? "" : ` (${one.signed})`}${status}`,
    title: `${one.state}, due ${one.due}, ${one.tries} tries`,
  });
}

function teller(entry) {
  const select = made("select", { className: "tell", ariaLabel: "Tell a callback" },
    made("option", { value: "", textContent: "tell…" }),
    ...overview.events[entry.provider].map((event) => made("option", { value: event, textContent: event })));
  select.addEventListener("change", async () => {
    const event = select.value;
    select.value = "";
    await act(() => call("POST", "/callbacks", { provider: entry.provider, message_id: entry.message_id, event }));
  });
  return select;
}

async function act(what) {
  try {
    await what();
  } catch (error) {
    alert(error.message);
  }
  await refresh();
}

function drawBreaking() {
  const providers = [...new Set(Object.values(overview.presets).flat())];
  put(at("provider"), providers, () => ["", ...providers].map((name) =>
    made("option", { value: name, textContent: name || "all" })));
  drawPresets();
  at("well").hidden = overview.scripts.length > 0;
  put(at("scripts"), overview.scripts, () => overview.scripts.map((order) => {
    const clear = made("button", { type: "button", textContent: "clear" });
    clear.addEventListener("click", () => act(() => call("POST", "/script", { provider: order.provider, clear: true })));
    return made("li", {}, made("span", { textContent: described(order) }), clear);
  }));
}

function drawPresets() {
  const provider = at("provider").value;
  const names = Object.entries(overview.presets).filter(([, whose]) => !provider || whose.includes(provider));
  put(at("presets"), names, () => names.map(([preset]) => {
    const button = made("button", { type: "button", textContent: preset });
    button.addEventListener("click", () => act(() => {
      const seconds = Number(at("seconds").value) || 60;
      return call("POST", "/script", { preset, seconds, ...(at("provider").value && { provider: at("provider").value }) });
    }));
    return button;
  }));
}

function described(order) {
  const answer = order.answer;
  const what = [
    answer.hang && "hangs",
    answer.reset && `reset ${answer.reset}`,
    answer.status && `answers ${answer.status}`,
    answer.cut && "cut in the middle",
    answer.latency && `${answer.latency.median_s} to ${answer.latency.p99_s} s late`,
    answer.delay_s > 0 && `${answer.delay_s} s late`,
    answer.callbacks && `tells ${answer.callbacks.map((one) => one.event).join(", ")}`,
  ].filter(Boolean).join(", ") || "answers";
  const when = [
    order.percent < 100 && `${order.percent} %`,
    order.times && `${order.times} times`,
    order.starts_in_s > 0 && `in ${Math.ceil(order.starts_in_s)} s`,
    order.ends_in_s !== null && order.starts_in_s === 0 && `${Math.ceil(order.ends_in_s)} s left`,
    order.used > 0 && `${order.used} so far`,
  ].filter(Boolean).join(", ");
  return `${order.provider} ${what}${when ? ` (${when})` : ""}`;
}

function drawPhone() {
  const texts = [...entries.values()].filter((entry) => TEXTS.has(entry.provider) && entry.kind === "effect");
  const numbers = [...new Set(texts.map((entry) => `${entry.provider} ${entry.recipient}`))].sort();
  const before = at("number").value;
  put(at("number"), numbers, () => numbers.map((one) => made("option", { value: one, textContent: one.split(" ")[1] + (one.startsWith("sns") ? " (sns)" : "") })));
  if (numbers.includes(before)) at("number").value = before;
  const [provider, number] = at("number").value.split(" ");
  at("silent").hidden = numbers.length > 0;
  for (const part of ["words", "answering", "number"]) at(part).inert = numbers.length === 0;
  const bubbles = [
    ...texts.filter((entry) => entry.provider === provider && entry.recipient === number).map((entry) => [entry.time, entry.text, ""]),
    ...(said.get(at("number").value) ?? []),
  ].sort(([a], [b]) => a.localeCompare(b));
  put(at("texts"), bubbles, () => bubbles.map(([, text, className]) => made("li", { textContent: text, className })));
}

async function answer(body) {
  const whose = at("number").value;
  const [provider, from] = whose.split(" ");
  if (!from || !body) return;
  said.set(whose, [...(said.get(whose) ?? []), [new Date().toISOString(), body, "mine"]]);
  await act(async () => {
    const found = await call("POST", `/${provider}/inbound`, { from, body });
    const stopped = found.stopped.includes(from) ? `${provider} sends nothing to it any more` : "";
    const heard = found.status ? `the gateway answered ${found.status}` : "the gateway does not answer";
    at("answered").textContent = [heard, stopped].filter(Boolean).join("; ");
  });
  at("texts").scrollTop = at("texts").scrollHeight;
}

at("words").addEventListener("click", (event) => event.target.dataset.word && answer(event.target.dataset.word));
at("answering").addEventListener("submit", (event) => {
  event.preventDefault();
  answer(at("answer").value.trim());
  at("answer").value = "";
});
at("breaking").addEventListener("submit", (event) => event.preventDefault());
at("provider").addEventListener("change", drawPresets);
at("number").addEventListener("change", () => { at("texts").dataset.key = ""; drawPhone(); });
at("clear").addEventListener("click", () => act(async () => {
  await call("POST", "/reset");
  entries.clear();
  said.clear();
  at("entries").replaceChildren();
}));

async function live() {
  await refresh();
  setTimeout(live, PERIOD_MS);
}
live();
