// What is shown. Each tile, each rule and each column is a line: `now` answers questions, see figures.js.

import { $, Spark, Table, age, bytes, count, make, percent, rate, seconds } from "/console/draw.js"

const OUTCOMES = "crown_outcomes_total"
const TAKEN = { outcome: "Delivered" }
const AGAIN = { outcome: ["Retry", "Snooze"] }
const LOST = { outcome: ["Discard", "Unknown"] }
const SHOWN_ERRORS = 12

// -- tiles

const TILES = [
  { title: "Accepted", unit: "/s", show: rate, of: now => now.rate("crown_accepted_total"), last: now => now.last("crown_accepted_total") },
  { title: "Dispatched", unit: "/s", show: rate, of: now => now.rate("crown_dispatched_total"), last: now => now.last("crown_dispatched_total") },
  { title: "Taken by providers", unit: "/s", show: rate, of: now => now.rate(OUTCOMES, TAKEN), last: now => now.last(OUTCOMES, TAKEN) },
  { title: "To be tried again", unit: "/s", show: rate, tone: value => value > 0.05 && "wait", of: now => now.rate(OUTCOMES, AGAIN), last: now => now.last(OUTCOMES, AGAIN) },
  { title: "Refused or unknown", unit: "/s", show: rate, tone: value => value > 0.05 && "bad", of: now => now.rate(OUTCOMES, LOST), last: now => now.last(OUTCOMES, LOST) },
  { title: "Handed over, p99", unit: "", show: seconds, tone: value => value > 10 && "bad", of: now => now.quantile(0.99, "crown_handed_seconds") },
  { title: "Waiting", unit: "", show: count, tone: value => value > 10_000 && "wait", of: now => waiting(now) },
  { title: "Sockets", unit: "", show: count, of: now => now.sum("crown_sockets") },
]

// -- what asks for attention: each rule answers sentences

const RULES = [
  now => providers(now).filter(one => one.state === 2).map(one => bad(`${one.channel}: ${one.provider} is out`)),
  now => providers(now).filter(one => one.state === 1).map(one => wait(`${one.channel}: ${one.provider} is being probed`)),
  now => providers(now).filter(one => one.state === 0 && now.rate(OUTCOMES, one.where) >= 1 && failingPart(now, one.where) > 0.25)
    .map(one => wait(`${one.channel}: ${percent(failingPart(now, one.where))} of the calls of ${one.provider} fail`)),
  now => channels(now).filter(one => one.paused).map(one => bad(`${one.channel}: every provider is out, deliveries wait`)),
  now => now.processes.filter(one => one.silent_s > 3).map(one => bad(`${one.process} (${one.place}) is silent for ${age(one.silent_s)}`)),
  now => now.processes.filter(one => one.lag_s > 0.25).map(one => wait(`${one.process} (${one.place}): its loop comes up to ${seconds(one.lag_s)} late`)),
  now => now.levels("crown_bus_connected").filter(one => !one.value).map(one => bad(`${one.process.process} has lost the bus`)),
  now => works(now).filter(one => one.critical > 100).map(one => bad(`${one.key}: ${count(one.critical)} critical messages wait`)),
  now => works(now).filter(one => one.all > 10_000).map(one => wait(`${one.key}: ${count(one.all)} messages wait`)),
  now => (now.quantile(0.99, "crown_handed_seconds") > 10 ? [bad("the slowest hundredth takes more than 10 s until a provider has it")] : []),
]

const bad = words => ({ words, tone: "bad" })
const wait = words => ({ words, tone: "wait" })

// -- rows

const CHANNELS = ["push", "email", "sms", "webhook", "real_time", "in_app"]

function channels(now) {
  return CHANNELS.map(channel => ({ key: channel, channel, paused: now.most("crown_deliveries_paused", { channel }) > 0 }))
}

const STATES = [{ text: "in use", tone: "pill good" }, { text: "probing", tone: "pill wait" }, { text: "out", tone: "pill bad" }]

// Each as the process sees it that sees it worst.
function providers(now) {
  const found = new Map()
  for (const { labels, value } of now.levels("crown_provider_state")) {
    const key = `${labels.channel} ${labels.provider}`
    const one = found.get(key) ?? { key, ...labels, where: labels, state: 0, seen: 0, of: 0 }
    one.of += 1
    if (value > one.state) Object.assign(one, { state: value, seen: 0 })
    if (value === one.state) one.seen += 1
    found.set(key, one)
  }
  return [...found.values()].sort((a, b) => order(a.channel) - order(b.channel) || a.provider.localeCompare(b.provider))
}

const order = channel => CHANNELS.indexOf(channel)

// Who works on what: the consumers of one kind together, by lane.
function works(now) {
  const found = new Map()
  for (const [name, field] of [["crown_consumer_pending", "waits"], ["crown_consumer_unsettled", "held"]]) {
    for (const [key, { labels, value }] of newest(now, name)) {
      const { work, lane } = workOf(labels)
      const one = found.get(work) ?? { key: work, all: 0, held: 0 }
      if (field === "held") one.held += value
      else {
        one.all += value
        one[lane] = (one[lane] ?? 0) + value
      }
      found.set(work, one)
    }
  }
  return [...found.values()].sort((a, b) => WORKS.indexOf(a.key) - WORKS.indexOf(b.key))
}

const WORKS = ["dispatch", "push", "email", "sms", "webhook", "record", "undertaker"]

function workOf({ stream, consumer }) {
  const [kind, lane] = stream.split(/_(.*)/)
  if (kind === "INTAKE" || kind === "DELIVERY") return { work: consumer, lane }
  if (kind === "RETRY" || kind === "SCHEDULE") return { work: consumer.replace(/_[a-z]+$/, ""), lane: "due" }
  return { work: consumer, lane: "other" }
}

// Several processes may tell of one consumer.
function newest(now, name) {
  const found = new Map()
  for (const one of now.levels(name)) {
    const key = JSON.stringify(one.labels), known = found.get(key)
    if (!known || one.value > known.value) found.set(key, one)
  }
  return found
}

const waiting = now => works(now).reduce((sum, one) => sum + one.all, 0)

function streams(now) {
  return [...newest(now, "crown_stream_messages").values()].map(({ labels, value }) => ({
    key: labels.stream, messages: value, bytes: now.most("crown_stream_bytes", labels),
  })).sort((a, b) => STREAMS.indexOf(kindOf(a.key)) - STREAMS.indexOf(kindOf(b.key)))
}

// In the order in which a notification passes them; of one kind, as they come.
const STREAMS = ["INTAKE", "SCHEDULE", "DELIVERY", "RETRY", "EVENT", "DEAD", "REALTIME", "REVOKED"]
const kindOf = stream => stream.split("_")[0]

const FAULTS = ["INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "DATA_LOSS", "ABORTED"]

const ERRORS = [
  { name: "crown_attempt_errors_total", what: of => of.error, where: of => `${of.channel} by ${of.provider}` },
  { name: "crown_refused_total", what: of => of.reason, where: () => "at the door" },
  { name: "crown_rpc_seconds_bucket", only: of => of.le === "+Inf" && FAULTS.includes(of.code), what: of => of.code, where: of => of.method.split(/[./]/).at(-1) },
  { name: "crown_dead_letters_total", what: of => of.reason, where: of => `dead letter of ${of.channel}` },
  { name: "crown_problems_total", what: of => of.event, where: of => `log, ${of.level}` },
  { name: "crown_socket_refusals_total", what: of => `HTTP ${of.status}`, where: () => "opening a socket" },
]

function errors(now) {
  return ERRORS.flatMap(({ name, only = () => true, what, where }) =>
    now.series(name).filter(one => only(one.labels)).map(one => ({
      key: name + JSON.stringify(one.labels), what: what(one.labels), where: where(one.labels), count: one.count, last: one.last,
    }))).filter(one => one.count >= 0.5).sort((a, b) => b.count - a.count).slice(0, SHOWN_ERRORS)
}

function processes(now) {
  return now.processes.map(one => ({
    ...one, key: one.id, tone: one.silent_s > 3 ? "silent" : "",
    level: name => one.levels[name]?.[0]?.[1], grows: name => one.rates[name]?.[0]?.[1] ?? 0,
  }))
}

// -- tables

const some = (value, show, tone) => ({ text: value > 0 ? show(value) : "0", tone: value > 0 ? tone : "none" })
const maybe = (value, show) => (value === undefined ? { text: "–", tone: "none" } : show(value))
const number = { kind: "number" }

const TABLES = [
  { place: "channels", label: "Channels", rows: channels, empty: "Nobody has told anything yet.", columns: now => [
    { title: "Channel", of: row => ({ text: row.channel, tone: row.paused ? "pill bad" : "" }) },
    { title: "Decided /s", ...number, of: row => some(now().rate("crown_dispatched_total", { channel: row.channel }), rate, "") },
    { title: "Taken /s", ...number, hint: "attempts that a provider took", of: row => some(now().rate(OUTCOMES, { ...TAKEN, channel: row.channel }), rate, "good") },
    { title: "Again /s", ...number, hint: "attempts that are to be made again", of: row => some(now().rate(OUTCOMES, { ...AGAIN, channel: row.channel }), rate, "wait") },
    { title: "Lost /s", ...number, hint: "refused for good, or with an outcome that nobody knows", of: row => some(now().rate(OUTCOMES, { ...LOST, channel: row.channel }), rate, "bad") },
    { title: "p50", ...number, extra: true, of: row => maybe(now().quantile(0.5, "crown_attempt_seconds", { channel: row.channel }), seconds) },
    { title: "p99", ...number, of: row => maybe(now().quantile(0.99, "crown_attempt_seconds", { channel: row.channel }), seconds) },
    { title: "In flight", ...number, extra: true, of: row => some(now().sum("crown_deliveries_in_flight", { channel: row.channel }), count, "") },
    { title: "Decided", kind: "spark", extra: true, of: row => now().curve(`channel ${row.key}`, now().last("crown_dispatched_total", { channel: row.channel })) },
  ] },
  { place: "providers", label: "Providers", rows: providers, empty: "No channel service has told of its providers.", columns: now => [
    { title: "Provider", of: row => row.provider },
    { title: "Channel", extra: true, of: row => ({ text: row.channel, tone: "soft" }) },
    { title: "State", of: row => ({ ...STATES[row.state], hint: `so seen by ${row.seen} of ${row.of} processes` }) },
    { title: "Calls /s", ...number, of: row => some(now().rate(OUTCOMES, row.where), rate, "") },
    { title: "Failing", ...number, of: row => failing(now(), row.where) },
    { title: "p99", ...number, of: row => maybe(now().quantile(0.99, "crown_attempt_seconds", row.where), seconds) },
  ] },
  { place: "queues", label: "Messages that wait, by lane", rows: works, empty: "Nobody has told of the streams yet.", columns: now => [
    { title: "Who works", of: row => row.key },
    { title: "Critical", ...number, of: row => lane(row.critical) },
    { title: "Normal", ...number, of: row => lane(row.normal) },
    { title: "Bulk", ...number, of: row => lane(row.bulk) },
    { title: "Due again", ...number, hint: "retries and schedules whose time has come", of: row => lane(row.due) },
    { title: "All", ...number, of: row => some(row.all, count, "") },
    { title: "In hand", ...number, extra: true, hint: "given to a worker and not settled", of: row => some(row.held, count, "") },
    { title: "Waiting", kind: "spark", extra: true, of: row => now().curve(`work ${row.key}`, row.all) },
  ] },
  { place: "errors", label: "Errors", rows: errors, empty: "None since you look.", columns: now => [
    { title: "What", of: row => ({ text: row.what, tone: "code" }) },
    { title: "Where", of: row => ({ text: row.where, tone: "soft" }) },
    { title: "How often", ...number, of: row => count(row.count) },
    { title: "Lately", kind: "spark", extra: true, of: row => now().curve(`error ${row.key}`, row.last) },
  ] },
  { place: "processes", label: "Processes", rows: processes, empty: "Nobody has answered yet.", columns: now => [
    { title: "Process", of: row => row.process },
    { title: "Host and pid", extra: true, of: row => ({ text: row.place, tone: "soft" }) },
    { title: "Up", ...number, extra: true, of: row => age(now().now.time - row.started) },
    { title: "CPU", ...number, of: row => some(row.grows("process_cpu_seconds_total"), percent, "") },
    { title: "Loop late", ...number, hint: "at most, in the last second", of: row => maybe(row.lag_s ?? undefined, value => ({ text: value <= 0.01 ? "≤10 ms" : `≤${seconds(value)}`, tone: value > 0.25 ? "bad" : value > 0.05 ? "wait" : "" })) },
    { title: "Memory", ...number, of: row => maybe(row.level("process_resident_memory_bytes"), bytes) },
    { title: "Sockets", ...number, of: row => own(row, "crown_sockets", row.level("crown_sockets")) },
    { title: "Present", ...number, extra: true, hint: "people on topics, by connection", of: row => own(row, "crown_sockets", row.level("crown_presence_entries")) },
    { title: "Frames /s", ...number, extra: true, of: row => own(row, "crown_sockets", row.grows("crown_frames_total"), rate) },
    { title: "Heard", ...number, extra: true, of: row => (row.silent_s > 3 ? { text: `${age(row.silent_s)} ago`, tone: "bad" } : { text: "now", tone: "none" }) },
  ] },
  { place: "streams", label: "Streams", rows: streams, empty: "Nobody has told of the streams yet.", columns: () => [
    { title: "Stream", of: row => ({ text: row.key, tone: "code" }) },
    { title: "Messages", ...number, of: row => some(row.messages, count, "") },
    { title: "Size", ...number, of: row => some(row.bytes, bytes, "") },
  ] },
]

const lane = value => (value === undefined ? { text: "", tone: "none" } : some(value, count, "wait"))

// Only realtime processes have sockets, and each metric stands at 0 in the others.
const own = (row, _name, value, show = count) => (row.process === "realtime" ? some(value ?? 0, show, "") : { text: "", tone: "none" })

function failingPart(now, where) {
  const all = now.rate(OUTCOMES, where)
  return all ? 1 - now.rate(OUTCOMES, { ...where, ...TAKEN }) / all : 0
}

function failing(now, where) {
  const part = failingPart(now, where)
  return now.rate(OUTCOMES, where) ? some(part, percent, part > 0.05 ? "bad" : "wait") : { text: "–", tone: "none" }
}

// -- the page

export class Panels {
  constructor(figures) {
    this.figures = figures
    this.tiles = TILES.map(tile => new Tile(tile))
    $("glance").replaceChildren(...this.tiles.map(tile => tile.element))
    this.tables = TABLES.map(({ place, label, rows, columns, empty }) => {
      $(place).replaceChildren()
      return { rows, table: new Table($(place), label, columns(() => figures), empty) }
    })
  }

  show() {
    for (const tile of this.tiles) tile.show(this.figures)
    for (const { rows, table } of this.tables) table.show(rows(this.figures))
    attend(RULES.flatMap(rule => rule(this.figures)))
    const present = this.figures.processes.filter(one => one.silent_s <= 3).length
    $("processes-count").textContent = `${present} answer`
  }
}

class Tile {
  constructor(tile) {
    this.tile = tile
    this.element = make("div", "tile")
    this.value = make("span", "value")
    this.spark = new Spark(200, 34, 300)
    const figure = make("p", "figure")
    figure.append(this.value, make("span", "unit", tile.unit))
    this.element.append(make("h3", "", tile.title), figure, this.spark.element)
  }

  show(now) {
    const value = this.tile.of(now)
    this.value.textContent = value === undefined ? "–" : this.tile.show(value)
    this.element.dataset.tone = this.tile.tone?.(value) || ""
    this.spark.show(now.curve(`tile ${this.tile.title}`, this.tile.last ? this.tile.last(now) : value))
  }
}

function attend(found) {
  const worst = found.toSorted((a, b) => (a.tone === "bad" ? 0 : 1) - (b.tone === "bad" ? 0 : 1))
  const items = worst.length ? worst : [{ words: "Nothing asks for attention.", tone: "good" }]
  const list = $("attention-list"), words = items.map(one => one.words).join("\n")
  if (list.dataset.shown === words) return
  list.dataset.shown = words
  list.replaceChildren(...items.map(one => make("li", one.tone, one.words)))
}
