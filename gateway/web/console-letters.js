// Dead letters: what lies there, one of them opened, and what an operator does with it.

import { $, Table, age, complain, make } from "/console/draw.js"
import { clock, facts, reason, timeline, word } from "/console/story.js"

const PATH = "/api/v1/dead-letters"
const PAGE = 10
const SHOWN_MOST = 200
const RELOAD_MS = 15_000

const passed = time => (Date.now() - Date.parse(time)) / 1000

export class Letters {
  constructor(api, dialog) {
    Object.assign(this, { api, dialog, shown: PAGE, newest: 0 })
    $("letters").replaceChildren()
    this.table = new Table($("letters"), "Dead letters", [
      { title: "Age", of: row => ({ text: age(passed(row.create_time)), hint: clock(row.create_time) }) },
      { title: "Channel", of: row => word(row.channel) },
      { title: "Why", of: row => ({ text: row.error || row.reason, tone: "code", hint: row.reason }) },
      { title: "Kind", extra: true, of: row => row.kind || "–" },
      { title: "Sender", extra: true, of: row => row.sender },
      { title: "Provider", extra: true, of: row => row.provider || "–" },
      { title: "Attempts", kind: "number", extra: true, of: row => row.attempts },
      { title: "", kind: "node", of: row => this.button(row) },
    ], "None: nothing was given up.")
    $("letters-state").onchange = $("letters-channel").onchange = () => { this.shown = PAGE; this.load() }
    $("letters-more").onclick = () => { this.shown = Math.min(SHOWN_MOST, this.shown + PAGE); this.load() }
    setInterval(() => { if (document.visibilityState === "visible") this.load() }, RELOAD_MS)
  }

  button(row) {
    const button = make("button", "plain look", "Look")
    button.setAttribute("aria-label", `Look into the dead letter ${row.dead_letter_id}`)
    button.onclick = () => this.open(row.dead_letter_id)
    return button
  }

  async load() {
    const asked = ++this.newest
    const query = new URLSearchParams({ "filter.state": $("letters-state").value, limit: String(this.shown + 1) })
    if ($("letters-channel").value) query.set("filter.channel", $("letters-channel").value)
    try {
      const { dead_letters: found = [] } = await this.api.get(`${PATH}?${query}`)
      if (asked !== this.newest) return
      $("letters-more").hidden = found.length <= this.shown || this.shown === SHOWN_MOST
      this.table.show(found.slice(0, this.shown).map(row => ({ ...row, key: row.dead_letter_id })))
      complain("letters-trouble", "")
    } catch (error) {
      complain("letters-trouble", error.message)
    }
  }

  async open(id) {
    this.dialog.open("Dead letter", "Reading…")
    await this.dialog.attempt(async () => this.show(await this.api.get(`${PATH}/${encodeURIComponent(id)}`)))
  }

  show({ dead_letter: letter, attempts = [], data = {} }) {
    const content = make("blockquote")
    content.append(make("b", "", data.title ?? ""), make("p", "", data.message ?? ""))
    const done = letter.state !== "OPEN" && `${letter.state.toLowerCase()} by ${letter.update_by || "somebody"}, ${clock(letter.update_time)} UTC`
    this.dialog.fill([
      make("p", "lead", `${word(letter.channel)}: ${reason(letter.reason)}${letter.error && letter.error !== letter.reason ? ` (${letter.error})` : ""}`),
      facts([
        ["State", done || "open"], ["Since", `${clock(letter.create_time)} UTC`], ["Person", letter.user_id], ["Kind", letter.kind],
        ["Sender", letter.sender], ["Provider", letter.provider], ["Attempts", String(letter.attempts)],
        ["Notification", letter.notification_id], ["Letter", letter.dead_letter_id],
      ]),
      ...(data.title || data.message ? [content] : []), timeline(attempts),
    ], letter.state === "OPEN" ? [
      { name: "Replay", main: true, does: () => this.act(letter, "replay") },
      { name: "Discard", ask: "Discard for good?", does: () => this.act(letter, "discard") },
    ] : [])
  }

  async act(letter, verb) {
    const path = `${PATH}/${encodeURIComponent(letter.dead_letter_id)}`
    await this.api.post(`${path}:${verb}`, {})
    await Promise.all([this.load(), this.api.get(path).then(found => this.show(found))])
  }
}
