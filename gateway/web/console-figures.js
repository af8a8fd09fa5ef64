// What the channel told in the last minutes, and questions to it. Names and labels are those of /metrics.

export const KEPT_S = 300
// Rates are shown as the mean of so many seconds, and quantiles are of so many.
const MEAN_S = 5
const QUANTILE_S = 60

export class Figures {
  constructor() {
    this.ticks = []
    this.curves = new Map()
  }

  take(told) {
    this.ticks.push(told)
    while (this.ticks[0].time < told.time - KEPT_S) this.ticks.shift()
    // Who left is not drawn any more.
    for (const [key, points] of this.curves) {
      if (points.at(-1)[0] < told.time - KEPT_S) this.curves.delete(key)
    }
  }

  get now() { return this.ticks.at(-1) }
  get processes() { return this.now.processes }

  since(seconds) { return this.ticks.filter(tick => tick.time > this.now.time - seconds) }

  // How many a second, of those whose labels are as in `where`.
  rate(name, where = {}) {
    const ticks = this.since(MEAN_S)
    return ticks.reduce((sum, tick) => sum + grown(tick, name, where), 0) / ticks.length
  }

  // The same in the last second.
  last(name, where = {}) { return grown(this.now, name, where) }

  // Every series of `name` that grew while anybody looked: labels, how many came, and its rate now.
  series(name) {
    const found = new Map()
    this.ticks.forEach((tick, at) => {
      // A tick stands for the time since the one before, but not for a gap.
      const passed = at ? Math.min(3, tick.time - this.ticks[at - 1].time) : 1
      for (const [labels, rate] of tick.rates[name] ?? []) {
        const key = JSON.stringify(labels)
        const one = found.get(key) ?? { labels, count: 0, last: 0 }
        one.count += rate * passed
        if (tick === this.now) one.last = rate
        found.set(key, one)
      }
    })
    return [...found.values()]
  }

  // Below which the part `part` of what was measured lies; undefined where nothing was. As Prometheus reckons it.
  quantile(part, name, where = {}) {
    const sums = new Map()
    for (const tick of this.since(QUANTILE_S)) {
      for (const [labels, rate] of tick.rates[`${name}_bucket`] ?? []) {
        if (!fits(labels, where)) continue
        const bound = labels.le === "+Inf" ? Infinity : Number(labels.le)
        sums.set(bound, (sums.get(bound) ?? 0) + rate)
      }
    }
    const bounds = [...sums.keys()].sort((a, b) => a - b)
    if (!bounds.length) return undefined
    const wanted = part * sums.get(bounds.at(-1))
    let below = 0, from = 0
    for (const bound of bounds) {
      const sum = sums.get(bound)
      if (sum >= wanted) return bound === Infinity ? from : from + (bound - from) * (wanted - below) / Math.max(1e-12, sum - below)
      below = sum
      from = bound
    }
    return from
  }

  // Each value of a gauge: labels, value and the process that told it.
  levels(name, where = {}) {
    return this.processes.flatMap(process =>
      (process.levels[name] ?? []).filter(([labels]) => fits(labels, where)).map(([labels, value]) => ({ labels, value, process })))
  }

  sum(name, where) { return this.levels(name, where).reduce((sum, one) => sum + one.value, 0) }

  // Of what several processes tell about one and the same thing.
  most(name, where) { return this.levels(name, where).reduce((most, one) => Math.max(most, one.value), 0) }

  // The curve `key` with its newest point; ask once a tick.
  curve(key, value) {
    const points = this.curves.get(key) ?? []
    this.curves.set(key, points)
    if (points.at(-1)?.[0] !== this.now.time) points.push([this.now.time, value ?? 0])
    while (points[0][0] < this.now.time - KEPT_S) points.shift()
    return points
  }
}

function grown(tick, name, where) {
  return (tick.rates[name] ?? []).reduce((sum, [labels, rate]) => (fits(labels, where) ? sum + rate : sum), 0)
}

function fits(labels, where) {
  return Object.entries(where).every(([name, wanted]) => [wanted].flat().includes(labels[name]))
}
