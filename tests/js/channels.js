// What the official client makes of a server's answers: two channels on one topic, leaving twice, topics that there
// are not, pushes that are refused or too late, binary, and coming back after a close.
//   node channels.js <address up to /socket> <user> <token>
// Prints what happens, one JSON object a line; does what its standard input says: push, end.
const { Socket } = require("phoenix")
const WebSocket = require("ws")

const [address, user, token] = process.argv.slice(2)
const say = (step, data = null) => console.log(JSON.stringify({ step, data }))
const answered = push => new Promise(resolve => {
  for (const status of ["ok", "error", "timeout"]) push.receive(status, response => resolve({ status, response }))
})

const socket = new Socket(address, { transport: WebSocket, params: { token }, heartbeatIntervalMs: 1000 })
socket.onClose(event => say("close", { code: event.code, reason: event.reason }))
let opened = 0
socket.onOpen(() => say("open", ++opened))

async function run() {
  const first = socket.channel(`user:${user}`)
  first.onClose(() => say("first closed"))
  say("first", (await answered(first.join())).status)
  const second = socket.channel(`user:${user}`)
  let joins = 0
  say("second", (await new Promise(resolve => second.join()
    .receive("ok", response => { joins += 1; joins === 1 ? resolve({ status: "ok", response }) : say("rejoined", response) })
    .receive("error", response => resolve({ status: "error", response })))).status)
  second.onError(reason => say("second failed", reason))
  second.on("notification", ({ notification_id }) => say("notification", notification_id))

  say("push", await answered(second.push("nothing", { a: 1 })))
  say("binary", await answered(second.push("nothing", new Uint8Array([1, 2, 255]).buffer)))
  // When the test says so, since it makes the server hang before.
  process.stdin.on("data", async line => {
    if (String(line).trim() === "push") say("late", (await answered(second.push("nothing", {}, 200))).status)
  })

  const nowhere = socket.channel("nowhere:1")
  say("unmatched", await answered(nowhere.join()))
  nowhere.leave()

  const leaver = socket.channel(`realtime:user:${user}`)
  await answered(leaver.join())
  say("left", (await answered(leaver.leave())).status)
  say("left again", (await answered(leaver.leave())).status)

  // Broken on purpose: the server closes with 1011, and the client comes back and joins again.
  socket.conn.send("no frame")
}

process.stdin.on("data", line => {
  if (String(line).trim() === "end") socket.disconnect(() => { say("disconnected"); process.exit(0) })
})
socket.connect()
run()
setTimeout(() => { say("too late"); process.exit(1) }, 25_000)
