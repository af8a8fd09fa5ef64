// Supabase's client, unchanged: it puts `realtime:` before every topic.
//   node supabase.js <address up to /socket> <user> <token> <vsn>
// Prints what happens, one JSON object a line.
const { RealtimeClient } = require("@supabase/realtime-js")
const WebSocket = require("ws")

const [address, user, token, vsn] = process.argv.slice(2)
const say = (step, data = null) => console.log(JSON.stringify({ step, data }))

const client = new RealtimeClient(address, {
  transport: WebSocket, vsn, params: { apikey: "none", token }, heartbeatIntervalMs: 300,
})
client.onHeartbeat(status => say("heartbeat", status))

const foreign = client.channel(`user:not-${user}`)
foreign.subscribe((status, error) => {
  if (status === "CHANNEL_ERROR") { say("refused", error?.cause ?? String(error)); client.removeChannel(foreign) }
})

const own = client.channel(`user:${user}`)
own._on("notification", { event: "*" }, notification => {
  say("notification", notification)
  setTimeout(async () => {
    say("unsubscribed", await own.unsubscribe())
    await client.disconnect()
    process.exit(0)
  }, 500)
})
own.subscribe((status, error) => say("subscribed", { status, error: error ? String(error) : null, topic: own.topic }))

setTimeout(() => { say("too late"); process.exit(1) }, 20_000)
