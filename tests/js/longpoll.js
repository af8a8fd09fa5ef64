// The official client's other transport: polls from the start, or falls back to it where no WebSocket gets through.
//   node longpoll.js <address up to /socket> <user> <token> <params|authToken> <poll|fallback> [dead address]
// Takes one notification, sends binary, leaves. Prints what happens, one JSON object a line.
const { Socket, LongPoll } = require("phoenix")
const WebSocket = require("ws")

const [address, user, token, way, how] = process.argv.slice(2)
const say = (step, data = null) => console.log(JSON.stringify({ step, data }))

// As behind a proxy that knows no WebSocket: it is refused, and polls go through.
class Refused extends WebSocket {
  constructor(url, protocols) { super(url.replace("/websocket", "/nothing"), protocols) }
}

const socket = new Socket(address, {
  ...(how === "poll" ? { transport: LongPoll } : { transport: Refused, longPollFallbackMs: 2000 }),
  ...(way === "params" ? { params: { token } } : { authToken: token }),
})
socket.onOpen(() => say("open", { polls: socket.conn instanceof LongPoll }))
socket.onError(error => say("error", String(error?.message ?? error)))
socket.onClose(event => say("close", { code: event.code, reason: event.reason }))

const own = socket.channel(`user:${user}`)
own.on("notification", notification => {
  say("notification", notification)
  own.push("bin", new Uint8Array([255, 0]).buffer).receive("error", refusal => {
    say("refused", refusal)
    own.leave().receive("ok", () => {
      say("left")
      socket.disconnect(() => { say("disconnected"); process.exit(0) })
    })
  })
})
own.onError(reason => say("channel error", reason))
own.join()
  .receive("ok", answer => say("joined", answer))
  .receive("error", refusal => say("shut out", refusal))

socket.connect()
setTimeout(() => { say("too late"); process.exit(1) }, 20_000)
