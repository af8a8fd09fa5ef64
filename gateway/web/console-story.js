// The story of a notification in plain words, a sentence for each entry of its timeline.

import { make } from "/console/draw.js"

const REASONS = {
  PREFERENCE_OFF: "the person has turned this off",
  ALL_OFF: "the person has turned everything off",
  CONSENT_MISSING: "marketing needs the person's consent, and there is none",
  FREQUENCY_CAP: "the person has had as many as they allow",
  NO_ADDRESS: "there is no address to send to",
  ERASED: "the person was erased",
  EXPIRED: "its time had passed",
  READ: "the person had read it",
  QUIET_HOURS: "the person's quiet hours",
  DIGEST: "the person's next digest",
  LOCAL_TIME: "its local time",
  ESCALATION: "the time until it escalates",
  FILTER_HOLD: "the time that the filter named",
  RETRIES_EXHAUSTED: "its attempts are used up",
  FILTERED: "the filter held it back",
  ADDRESS_SUPPRESSED: "nothing is sent to this address any more",
}
const DECIDED = {
  PENDING: "send it now",
  DELIVERED: "put there at once",
  SUPPRESSED: "do not send it",
  EXPIRED: "too late to send it",
  CANCELLED: "cancelled",
  DIGESTED: "went out in a digest",
}
const ENDED = {
  DELIVERED_TO_PROVIDER: "the provider took it",
  RETRYING: "it failed",
  FAILED: "it failed for good",
  UNKNOWN: "nobody can say whether it arrived",
  SUPPRESSED: "it was not sent",
  EXPIRED: "its time had passed",
  CANCELLED: "it was cancelled",
  DELIVERED: "it arrived",
  BOUNCED: "it came back",
  READ: "it was read",
}
const TOLD = {
  ACCEPTED: "it is on its way",
  DELIVERED: "it arrived",
  DEFERRED: "the other side asked to wait",
  BOUNCED: "it came back",
  DROPPED: "it was not sent on",
  OPENED: "the person opened it",
  CLICKED: "the person followed a link",
  COMPLAINED: "the person reported it as spam",
  UNSUBSCRIBED: "the person wants no more",
}
const STATUS = {
  ACCEPTED: "is accepted",
  IN_PROGRESS: "is under way",
  DONE: "is done",
  SCHEDULED: "waits for its time",
  CANCELLED: "was cancelled",
}
// What became of a delivery, at a glance.
const TONES = {
  DELIVERED_TO_PROVIDER: "good", DELIVERED: "good", READ: "good", FAILED: "bad", UNKNOWN: "bad", BOUNCED: "bad", RETRYING: "wait", DEFERRED: "wait",
}

export const word = name => String(name ?? "").replace("CHANNEL_UNSPECIFIED", "dispatch").toLowerCase().replaceAll("_", " ")

export function headline(found) {
  const people = found.everyone ? " for everybody" : found.recipient_count > 1 ? ` for ${found.recipient_count} people` : ""
  const status = STATUS[found.status] ?? "is in a state that this page does not know"
  return `A ${found.kind || "notification"} of ${found.sender}${people} (${word(found.category)}, lane ${word(found.priority)}) ${status}.`
}

export function sentence(entry) {
  const who = entry.user_id || "everybody"
  const where = entry.channel && entry.channel !== "CHANNEL_UNSPECIFIED" ? `${who} by ${word(entry.channel)}` : who
  switch (entry.event) {
    case "ACCEPTED": return "It was stored, and its sender heard yes."
    case "KEY_REUSED": return "Its idempotency key came again with another body, which was not taken."
    case "SCHEDULED": return `It waits for ${until(entry)}.`
    case "DECIDED": return `Decided for ${where}: ${decision(entry)}.`
    case "RELEASED": return `The time came for ${where}: ${decision(entry)}.`
    case "ATTEMPTED": return `${attempt(entry)} for ${where}: ${end(entry)}.`
    case "CALLBACK": return `${entry.provider || "The provider"} told of ${where}: ${TOLD[entry.callback] ?? "something new"}${why(entry.reason)}.`
    case "READ": return `${who} read it in the app.`
    case "CANCELLED": return entry.user_id ? `Its sender cancelled it for ${where}.` : "Its sender cancelled it."
    case "REPLAYED": return `An operator had it delivered again to ${where}.`
    case "DISCARDED": return `An operator discarded the dead letter of ${where}.`
    default: return `Something that this page does not know happened to ${where}.`
  }
}

function decision(entry) {
  if (entry.state === "DEFERRED") return `wait for ${reason(entry.reason)}, until ${until(entry)}`
  return `${DECIDED[entry.state] ?? word(entry.state)}${why(entry.reason)}`
}

function attempt(entry) {
  const by = entry.provider ? ` by ${entry.provider}` : ""
  return entry.attempt ? `Attempt ${entry.attempt}${by}` : "Without an attempt"
}

function end(entry) {
  const told = `${ENDED[entry.state] ?? word(entry.state)}${why(entry.reason)}${entry.detail ? ` [${entry.detail}]` : ""}`
  return entry.due_time ? `${told}; again at ${until(entry)}` : told
}

const until = entry => (entry.due_time ? `${clock(entry.due_time).slice(0, 19)} UTC` : "its time")

export function reason(words) {
  const [known, ...rest] = String(words ?? "").split(": ")
  const told = REASONS[known] ?? known
  return rest.length ? `${told} (${REASONS[rest.join(": ")] ?? rest.join(": ")})` : told
}

const why = words => (!words ? "" : words in REASONS ? `, since ${reason(words)}` : ` (${reason(words)})`)

// Day and time in UTC, to the millisecond: what logs have.
export const clock = time => new Date(time).toISOString().replace("T", " ").replace("Z", "")

// -- as elements

export function timeline(entries) {
  const list = make("ol", "timeline")
  for (const entry of entries) {
    const item = make("li")
    item.append(make("time", "", clock(entry.time)), make("span", TONES[entry.state] ?? "", sentence(entry)))
    list.append(item)
  }
  return list
}

// Pairs of a name and a text; what is empty is left out.
export function facts(pairs) {
  const list = make("dl", "facts")
  for (const [name, text] of pairs) {
    if (text) list.append(make("dt", "", name), make("dd", "", text))
  }
  return list
}

export function deliveries(found) {
  const list = make("ul", "deliveries")
  for (const one of found) {
    const item = make("li")
    const state = make("span", `pill ${TONES[one.state] ?? ""}`, word(one.state))
    const by = [one.provider && `by ${one.provider}`, one.attempts && `${one.attempts} attempt${one.attempts > 1 ? "s" : ""}`, reason(one.reason)]
    item.append(make("b", "", word(one.channel)), state, make("span", "soft", [one.user_id, ...by].filter(Boolean).join(" · ")))
    list.append(item)
  }
  return list
}
