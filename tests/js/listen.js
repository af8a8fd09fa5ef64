// An EventSource, unchanged: prints what happens until it is ended, one JSON object a line.
//   node listen.js <url> [event…]
const { EventSource } = require("eventsource")

const [url, ...names] = process.argv.slice(2)
const say = (step, data = null) => console.log(JSON.stringify({ step, data }))

const source = new EventSource(url)
source.onopen = () => say("open")
for (const name of ["joined", ...names]) {
  source.addEventListener(name, event => say(name, { id: event.lastEventId, ...JSON.parse(event.data) }))
}
// The name of our event about an end is also that of the client's own about a lost connection.
source.addEventListener("error", event => {
  say("error", event.data ? JSON.parse(event.data) : { status: event.code ?? 0, closed: source.readyState === 2 })
})
