// A small app on the notification service: the inbox of one person, live, and a lobby where people meet.
// What a page of yours needs of it stands in `listen`: where the events of a topic stand, and joining from there.

import { Presence, Socket } from "/demo/phoenix.mjs"

const SHOWN_MOST = 50
// Milliseconds in which the others hear once that one types, and after which one who is silent does not.
const TYPING_TOLD_MS = 2000
const TYPING_MS = 5000

const $ = id => document.getElementById(id)

function make(tag, name, text) {
  const made = document.createElement(tag)
  if (name) made.className = name
  if (text !== undefined) made.textContent = text
  return made
}

// -- REST

class Api {
  constructor(user, token) {
    this.path = `/api/v1/users/${encodeURIComponent(user)}/notifications`
    this.headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }
  }

  inbox() { return this.call("GET", `?limit=${SHOWN_MOST}`) }
  unread() { return this.call("GET", "/unread-count") }
  read(id) { return this.call("POST", `/${encodeURIComponent(id)}:read`, {}) }
  readAll() { return this.call("POST", ":read-all", {}) }

  async call(method, rest, body) {
    const answer = await fetch(this.path + rest, {
      method, headers: this.headers, body: body && JSON.stringify(body), cache: "no-store",
    })
    const said = await answer.json()
    if (!answer.ok) throw new Error(said.message)
    return said
  }
}

// -- notifications

class Inbox {
  constructor(api) {
    this.api = api
    this.entries = new Map()
    this.count = 0
    $("read-all").onclick = () => this.readAll()
    setInterval(() => this.show(), 30_000)
  }

  // Reads it anew, and answers where the live events stood before that.
  async load() {
    const [page, { unread_count }] = await Promise.all([this.api.inbox(), this.api.unread()])
    for (const entry of page.notifications) this.entries.set(entry.notification_id, { ...entry, read: Boolean(entry.read_time) })
    this.setCount(unread_count)
    // 64 bits are text in JSON.
    return { since: Number(page.offset), epoch: page.epoch }
  }

  arrive(notification) {
    // At least once: a repetition has the same id.
    if (this.entries.has(notification.notification_id)) return
    this.entries.set(notification.notification_id, { ...notification, read: false, fresh: true })
    ring()
    this.show()
  }

  // Another tab, or this one, marked some as read.
  wereRead({ notification_ids = [], all = false, until }) {
    const ids = new Set(notification_ids)
    for (const entry of this.entries.values()) {
      if (ids.has(entry.notification_id) || (all && Date.parse(entry.create_time) <= Date.parse(until))) entry.read = true
    }
    this.show()
  }

  setCount(count) {
    this.count = count
    this.show()
  }

  async read(entry) {
    if (entry.read) return
    entry.read = true
    this.show()
    await this.attempt(async () => this.setCount((await this.api.read(entry.notification_id)).unread_count))
  }

  async readAll() {
    await this.attempt(async () => {
      const { read_time } = await this.api.readAll()
      this.wereRead({ all: true, until: read_time })
    })
  }

  async attempt(action) {
    try {
      await action()
      complain("inbox-trouble", "")
    } catch (error) {
      complain("inbox-trouble", error.message)
    }
  }

  show() {
    const newest = [...this.entries.values()].sort((a, b) => (a.create_time < b.create_time ? 1 : -1)).slice(0, SHOWN_MOST)
    $("list").replaceChildren(...newest.map(entry => this.item(entry)))
    $("empty").hidden = newest.length > 0
    $("count").hidden = $("read-all").hidden = this.count === 0
    $("count").textContent = this.count > 99 ? "99+" : String(this.count)
    $("bell").title = `${this.count} unread`
    document.title = this.count ? `(${this.count}) crown` : "crown"
  }

  item(entry) {
    const button = make("button", `item${entry.read ? "" : " unread"}${entry.fresh ? " fresh" : ""}`)
    entry.fresh = false
    button.dataset.id = entry.notification_id
    button.append(make("span", "mark"), make("span", "title", entry.data.title), make("span", "time", ago(entry.create_time)))
    if (entry.data.message) button.append(make("span", "message", entry.data.message))
    button.onclick = () => this.read(entry)
    const item = make("li")
    item.append(button)
    return item
  }
}

function ring() {
  $("bell").classList.remove("rings")
  requestAnimationFrame(() => $("bell").classList.add("rings"))
}

const relative = new Intl.RelativeTimeFormat("en", { style: "narrow" })

function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000)
  if (seconds < 45) return "now"
  if (seconds < 3570) return relative.format(-Math.round(seconds / 60), "minute")
  if (seconds < 84_600) return relative.format(-Math.round(seconds / 3600), "hour")
  return relative.format(-Math.round(seconds / 86_400), "day")
}

// Joins a person's topic, and misses nothing: neither between the inbox and the join, nor while away.
function listen(socket, user, inbox) {
  let position = { since: 0, epoch: "" }
  const own = socket.channel(`user:${user}`, () => position)
  const reload = () => inbox.attempt(async () => { position = later(position, await inbox.load()) })

  // Every numbered event says where the topic stands after it.
  own.onMessage = (_event, payload) => {
    if (payload?.epoch && payload.offset !== undefined) position = { since: payload.offset, epoch: payload.epoch }
    return payload
  }
  own.on("notification", notification => inbox.arrive(notification))
  own.on("read", what => inbox.wereRead(what))
  own.on("unread_count", ({ unread_count }) => inbox.setCount(unread_count))
  own.on("resync", reload)

  reload().then(() => {
    own.join()
      .receive("ok", ({ recovered, offset, epoch }) => {
        state("live")
        if (recovered) return
        position = { since: offset, epoch }
        reload()
      })
      .receive("error", refusal => complain("inbox-trouble", refusal.message ?? refusal.reason))
  })
}

// The farther of two positions; of two sequences, the newer.
function later(one, other) {
  if (!other.epoch) return one
  return one.epoch === other.epoch && one.since > other.since ? one : other
}

// -- the lobby

class Lobby {
  constructor(socket, user) {
    this.user = user
    this.channel = socket.channel("chat:lobby")
    this.typists = new Map()
    this.toldAt = 0
    const presence = new Presence(this.channel)
    presence.onSync(() => this.showPeople(presence.list(id => id)))
    this.channel.on("typing", ({ user_id, typing }) => this.typed(user_id, typing))
    this.channel.on("message", ({ user_id, text }) => this.said(user_id, String(text ?? "")))
    this.channel.on("removed", () => this.enable(false, "You are no member of the lobby any more."))
    this.channel.join()
      .receive("ok", () => this.enable(true, ""))
      .receive("error", refusal => this.enable(false, `The lobby is closed to you: ${refusal.message ?? refusal.reason}`))
    $("compose").onsubmit = event => { event.preventDefault(); this.say() }
    $("text").oninput = () => this.tellTyping()
  }

  enable(on, words) {
    $("text").disabled = $("send").disabled = !on
    complain("lobby-trouble", words)
  }

  showPeople(ids) {
    // Oneself first, then by name.
    ids.sort((a, b) => (b === this.user) - (a === this.user) || a.localeCompare(b))
    $("people").replaceChildren(...ids.map(id => {
      const person = make("li", "person")
      person.dataset.user = id
      person.append(avatar(id), make("span", "", id === this.user ? `${id} (you)` : id))
      return person
    }))
    $("here-count").textContent = ids.length === 1 ? "just you" : `${ids.length} here`
  }

  tellTyping() {
    const now = Date.now()
    if (!$("text").value || now - this.toldAt < TYPING_TOLD_MS) return
    this.toldAt = now
    this.channel.push("typing", { typing: true })
  }

  typed(user, typing) {
    clearTimeout(this.typists.get(user))
    this.typists.delete(user)
    if (typing && user !== this.user) this.typists.set(user, setTimeout(() => this.typed(user, false), TYPING_MS + 1000))
    $("typing").textContent = sentence([...this.typists.keys()])
  }

  say() {
    const text = $("text").value.trim()
    if (!text) return
    $("text").value = ""
    this.toldAt = 0
    this.channel.push("typing", { typing: false })
    // Everybody gets it but oneself.
    this.channel.push("message", { text })
      .receive("ok", () => this.said(this.user, text))
      .receive("error", refusal => complain("lobby-trouble", refusal.message ?? refusal.reason))
  }

  said(user, text) {
    const mine = user === this.user
    const words = make("div", "words")
    if (!mine) words.append(make("span", "who", user))
    words.append(make("span", "text", text))
    const line = make("li", mine ? "said mine" : "said")
    if (!mine) line.append(avatar(user))
    line.append(words)
    $("talk").append(line)
    while ($("talk").childElementCount > SHOWN_MOST) $("talk").firstElementChild.remove()
    line.scrollIntoView({ block: "nearest" })
    if (!mine) this.typed(user, false)
  }
}

function sentence(people) {
  if (people.length === 0) return ""
  if (people.length > 3) return "several people are typing…"
  const names = people.length === 1 ? people[0] : `${people.slice(0, -1).join(", ")} and ${people.at(-1)}`
  return `${names} ${people.length === 1 ? "is" : "are"} typing…`
}

function avatar(id) {
  const made = make("span", "avatar", (id.slice(0, 1) + (id.match(/\d$/) ?? "")).toUpperCase())
  const sum = [...id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 65_521, 7)
  // Neighbours on the way round the colours are far apart.
  made.style.setProperty("--hue", String(Math.round(sum * 137.5) % 360))
  return made
}

// -- the page

const WORDS = { off: "signed out", wait: "connecting", live: "live" }

function state(is, words = WORDS[is]) {
  $("state").dataset.state = is
  $("state").textContent = words
}

function complain(where, words) {
  $(where).textContent = words
  $(where).hidden = !words
}

function start(user, token) {
  $("me").textContent = user
  $("me").hidden = $("app").hidden = false
  state("wait")
  // As a subprotocol: the token stands in no address.
  const socket = new Socket("/socket", { authToken: token })
  socket.onClose(() => state("wait", "reconnecting"))
  socket.connect()
  listen(socket, user, new Inbox(new Api(user, token)))
  new Lobby(socket, user)
}

function enter() {
  const given = new URLSearchParams(location.hash.slice(1))
  const user = given.get("user"), token = given.get("token")
  if (user && token) {
    start(user, token)
    return
  }
  $("entry").hidden = false
  $("entry-user").value = user ?? "user123"
  $("entry").onsubmit = event => {
    event.preventDefault()
    const fields = { user: $("entry-user").value.trim(), token: $("entry-token").value.trim() }
    location.hash = new URLSearchParams(fields).toString()
  }
}

// Another fragment is another person.
window.addEventListener("hashchange", () => location.reload())
enter()
