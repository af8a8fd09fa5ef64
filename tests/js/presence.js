// What the official Presence makes of events: one list of [event, payload] a line in, the state that it has then out.
const {Presence} = require("phoenix")
const readline = require("readline")

class Channel {
  constructor() { this.heard = {} }
  on(event, callback) { this.heard[event] = callback }
  joinRef() { return "1" }
}

readline.createInterface({input: process.stdin}).on("line", line => {
  const channel = new Channel()
  const presence = new Presence(channel)
  for (const [event, payload] of JSON.parse(line)) channel.heard[event]?.(payload)
  const state = Object.entries(presence.state).map(([key, {metas}]) => [key, metas])
  process.stdout.write(JSON.stringify(state) + "\n")
})
