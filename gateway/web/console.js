// The live console: who may see it, the channel that feeds it, search, and keys. What is shown stands in panels.js.

import { Socket } from "/console/phoenix.mjs"
import { $, age, complain, make } from "/console/draw.js"
import { Figures } from "/console/figures.js"
import { Letters } from "/console/letters.js"
import { Panels } from "/console/panels.js"
import { clock, deliveries, facts, headline, timeline } from "/console/story.js"

const STALE_S = 5
const TOKEN = "crown-console-token"
const THEME = "crown-console-theme"
const ENTRIES_MOST = 500

// -- REST

class Refused extends Error {}

class Api {
  constructor(token, refused) {
    Object.assign(this, { token, refused })
  }

  get(path) { return this.call("GET", path) }
  post(path, body) { return this.call("POST", path, body) }

  async call(method, path, body) {
    let answer
    try {
      answer = await fetch(path, {
        method, body: body && JSON.stringify(body), cache: "no-store",
        headers: { Authorization: `Bearer ${this.token}`, ...(body && { "Content-Type": "application/json" }) },
      })
    } catch {
      throw new Error("the gateway does not answer")
    }
    const said = await answer.json().catch(() => ({}))
    if (answer.ok) return said
    if (answer.status === 401 || answer.status === 403) {
      const error = new Refused(wordOf(answer.status, said, this.token))
      this.refused(error)
      throw error
    }
    throw new Error(said.message ?? `the gateway answers ${answer.status}`)
  }
}

function wordOf(status, said, token) {
  if (status === 401) return `This token is not taken: ${said.message ?? "it may have expired"}`
  const holder = { user: "a user's", service: "a service's" }[use(token)] ?? "somebody else's"
  return `This is ${holder} token. The console is for operators.`
}

// For the word above alone: who may do what, the service says.
function use(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).use
  } catch {
    return ""
  }
}

// -- the dialog

class Dialog {
  constructor() {
    this.element = $("dialog")
    $("dialog-close").onclick = () => this.element.close()
    // Beside it.
    this.element.onclick = event => { if (event.target === this.element) this.element.close() }
  }

  open(title, words) {
    $("dialog-title").textContent = title
    this.fill([make("p", "soft", words)], [])
    if (!this.element.open) this.element.showModal()
  }

  fill(parts, actions) {
    complain("dialog-trouble", "")
    $("dialog-body").replaceChildren(...parts)
    const hadFocus = $("dialog-actions").contains(document.activeElement)
    $("dialog-actions").replaceChildren(...actions.map(action => this.button(action)))
    if (hadFocus) $("dialog-close").focus()
  }

  // What cannot be taken back is asked twice.
  button({ name, main, ask, does }) {
    const button = make("button", main ? "main" : "plain", name)
    button.onclick = () => {
      if (ask && button.textContent !== ask) {
        button.textContent = ask
        button.classList.add("bad")
        return
      }
      for (const one of $("dialog-actions").children) one.disabled = true
      this.attempt(does)
    }
    return button
  }

  async attempt(work) {
    try {
      await work()
    } catch (error) {
      complain("dialog-trouble", error.message)
      for (const one of $("dialog-actions").children) one.disabled = false
    }
  }
}

// -- search

class Search {
  constructor(api, dialog) {
    Object.assign(this, { api, dialog })
    $("search-form").onsubmit = event => {
      event.preventDefault()
      const id = $("search").value.trim()
      if (id) this.find(id)
    }
  }

  async find(id) {
    this.dialog.open("Notification", "Looking for it…")
    await this.dialog.attempt(async () => {
      const path = `/api/v1/notifications/${encodeURIComponent(id)}`
      const [{ notification }, told] = await Promise.all([this.api.get(path), this.api.get(`${path}/timeline?limit=${ENTRIES_MOST}`)])
      const more = told.next_cursor ? [make("p", "soft", `… and more than ${ENTRIES_MOST} entries: crown explain --user tells of one person.`)] : []
      this.dialog.fill([
        make("p", "lead", headline(notification)),
        facts([["Id", notification.notification_id], ["Accepted", `${clock(notification.create_time)} UTC`], ["To be sent", notification.send_time && `${clock(notification.send_time)} UTC`]]),
        deliveries(notification.deliveries ?? []), timeline(told.entries ?? []), ...more,
      ], [])
    })
  }
}

// -- the page

const WORDS = { off: "signed out", wait: "connecting", live: "live", stale: "stale" }

function state(is, words = WORDS[is]) {
  if ($("state").textContent === words) return
  $("state").dataset.state = is
  $("state").textContent = words
}

class Console {
  constructor(token) {
    this.token = token
    this.api = new Api(token, error => leave(error.message))
    this.figures = new Figures()
    this.panels = new Panels(this.figures)
    this.heard = 0
    const dialog = new Dialog()
    this.letters = new Letters(this.api, dialog)
    this.search = new Search(this.api, dialog)
    setInterval(() => this.age(), 500)
  }

  start() {
    $("app").hidden = $("search-form").hidden = $("leave").hidden = false
    this.heard = performance.now()
    state("wait")
    this.letters.load()
    // As a subprotocol: the token stands in no address.
    this.socket = new Socket("/socket", { authToken: this.token })
    // A handshake that was refused says nothing; REST says why, and a token that has expired leads to the entry.
    this.socket.onClose(() => { state("wait", "reconnecting"); this.letters.load() })
    this.socket.connect()
    const channel = this.socket.channel("ops:metrics")
    channel.on("metrics", told => this.take(told))
    channel.join().receive("error", refusal => leave(refusal.message ?? refusal.reason))
  }

  take(told) {
    this.heard = performance.now()
    const dead = this.figures.ticks.length && told.rates.crown_dead_letters_total
    this.figures.take(told)
    this.panels.show()
    state("live")
    this.age()
    $("told").textContent = `told by node ${told.node} at ${clock(told.time * 1000).slice(11, 19)} UTC`
    // The books hear of a letter a moment after it was written.
    if (dead) setTimeout(() => this.letters.load(), 1000)
  }

  age() {
    const silent_s = (performance.now() - this.heard) / 1000, stale = silent_s > STALE_S
    $("app").classList.toggle("old", stale)
    complain("stale", stale ? `Stale: no figures for ${age(silent_s)}.` : "")
    if (stale && $("state").dataset.state === "live") state("stale")
  }
}

function leave(words = "") {
  sessionStorage.removeItem(TOKEN)
  if (words) sessionStorage.setItem(`${TOKEN}-refused`, words)
  location.replace(location.pathname)
}

function ask(words = "") {
  $("entry").hidden = false
  complain("entry-trouble", words)
  $("entry-token").focus()
  $("entry").onsubmit = event => {
    event.preventDefault()
    enter($("entry-token").value.trim())
  }
}

// REST says with words who is refused, which a handshake cannot.
async function enter(token, notification = "") {
  try {
    await new Api(token, () => {}).get("/api/v1/dead-letters?limit=1")
  } catch (error) {
    if (error instanceof Refused) {
      sessionStorage.removeItem(TOKEN)
      ask(error.message)
      return
    }
  }
  sessionStorage.setItem(TOKEN, token)
  $("entry").hidden = true
  const opened = new Console(token)
  opened.start()
  if (notification) opened.search.find(notification)
}

// -- light and dark, and keys

const THEMES = ["auto", "light", "dark"]

function theme(name) {
  document.documentElement.dataset.theme = name
  $("theme").textContent = name[0].toUpperCase() + name.slice(1)
  $("theme").setAttribute("aria-label", `Colours: ${name}. Change`)
  localStorage.setItem(THEME, name)
}

function nextTheme() {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length])
}

const KEYS = {
  "/": () => $("search").focus(),
  d: () => { $("letters-card").scrollIntoView(); ($("letters").querySelector("button") ?? $("letters-state")).focus() },
  t: nextTheme,
}

document.addEventListener("keydown", event => {
  const typing = event.target instanceof Element && event.target.closest("input, textarea, select")
  if (event.key === "Escape" && event.target === $("search")) $("search").blur()
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog").open || $("app").hidden || !(event.key in KEYS)) return
  event.preventDefault()
  KEYS[event.key]()
})

$("theme").onclick = nextTheme
$("leave").onclick = () => leave()
theme(THEMES.includes(localStorage.getItem(THEME)) ? localStorage.getItem(THEME) : "auto")

function begin() {
  const given = new URLSearchParams(location.hash.slice(1))
  // What an address holds is kept by its history, and copied with it.
  if (location.hash) history.replaceState(null, "", location.pathname)
  const token = given.get("token") ?? sessionStorage.getItem(TOKEN)
  const refused = sessionStorage.getItem(`${TOKEN}-refused`) ?? ""
  sessionStorage.removeItem(`${TOKEN}-refused`)
  if (token) enter(token, given.get("notification") ?? "")
  else ask(refused)
}

window.addEventListener("hashchange", () => { if (location.hash) location.reload() })
begin()
