// The official client, unchanged: connects, joins, beats, takes notifications until told enough, and leaves.
//   node tour.js <address up to /socket> <user> <token> <params|subprotocol> [notifications]
// Prints what happens, one JSON object a line.
const { Socket } = require("phoenix")
const WebSocket = require("ws")

const [address, user, token, way, enough = "1"] = process.argv.slice(2)
const say = (step, data = null) => console.log(JSON.stringify({ step, data }))

const socket = new Socket(address, {
  transport: WebSocket,
  heartbeatIntervalMs: 200,
  ...(way === "params" ? { params: { token } } : { authToken: token }),
})
socket.onOpen(() => say("open", { protocol: socket.conn.protocol }))
socket.onError(error => say("error", String(error?.message ?? error)))
socket.onClose(event => say("close", { code: event.code, reason: event.reason }))

let beat = false
socket.onMessage(({ topic, event, ref, payload }) => {
  if (topic === "phoenix" && event === "phx_reply" && !beat) {
    beat = true
    say("heartbeat", payload)
  }
})

const foreign = socket.channel(`user:not-${user}`)
foreign.join()
  .receive("ok", () => say("intruded"))
  .receive("error", refusal => { say("refused", refusal); foreign.leave() })

const own = socket.channel(`user:${user}`, () => ({ since: 0 }))
let count = 0
own.on("notification", notification => {
  say("notification", notification)
  count += 1
  if (count === Number(enough)) finish()
})
own.onClose(() => say("closed"))
own.join()
  .receive("ok", answer => say("joined", answer))
  .receive("error", refusal => say("shut out", refusal))

function finish() {
  if (!beat) { setTimeout(finish, 50); return }
  own.leave().receive("ok", () => {
    say("left")
    socket.disconnect(() => process.exit(0))
  })
}

socket.connect()
setTimeout(() => { say("too late"); process.exit(1) }, 20_000)
