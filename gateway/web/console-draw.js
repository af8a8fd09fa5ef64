// Elements, figures in words, small curves, and tables that change in place. All that is shown is put in as text.

export const $ = id => document.getElementById(id)

export function make(tag, name, text) {
  const made = document.createElement(tag)
  if (name) made.className = name
  if (text !== undefined) made.textContent = text
  return made
}

export function complain(where, words) {
  $(where).textContent = words
  $(where).hidden = !words
}

// -- figures

export function count(value) {
  if (value === undefined || value === null) return "–"
  if (value >= 9_999_500) return `${(value / 1_000_000).toFixed(1)} M`
  if (value >= 9_999.5) return `${(value / 1_000).toFixed(1)} k`
  return String(Math.round(value)).replace(/\B(?=(\d{3})$)/, ",")
}

export function rate(value) {
  if (value > 0 && value < 0.05) return "<0.1"
  return value < 9.95 ? (Math.round(value * 10) / 10).toString() : count(value)
}

export function seconds(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return "–"
  if (value > 0 && value < 0.0005) return "<1 ms"
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`
  return `${value < 99.95 ? value.toFixed(1) : Math.round(value)} s`
}

export function bytes(value) {
  if (!value) return "0"
  const steps = ["B", "kB", "MB", "GB", "TB"]
  const step = Math.min(steps.length - 1, Math.floor(Math.log10(value) / 3))
  return `${(value / 1000 ** step).toFixed(step && value / 1000 ** step < 10 ? 1 : 0)} ${steps[step]}`
}

export function age(passed_s) {
  if (passed_s < 60) return `${Math.max(0, Math.floor(passed_s))} s`
  if (passed_s < 3600) return `${Math.floor(passed_s / 60)} min`
  if (passed_s < 172_800) return `${Math.floor(passed_s / 3600)} h`
  return `${Math.floor(passed_s / 86_400)} d`
}

export const percent = value => `${value > 0 && value < 0.0095 ? "<1" : Math.round(value * 100)} %`

// -- curves

const SVG = "http://www.w3.org/2000/svg"
const GAP_S = 4
const SPAN_LEAST_S = 60

// A curve without axes: its figure stands beside it. `points` are pairs of seconds and value.
export class Spark {
  constructor(width, height, span_s) {
    Object.assign(this, { width, height, span_s })
    this.element = document.createElementNS(SVG, "svg")
    this.element.setAttribute("class", "spark")
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`)
    this.element.setAttribute("preserveAspectRatio", "none")
    this.element.setAttribute("aria-hidden", "true")
    this.area = this.path("area")
    this.line = this.path("line")
  }

  path(name) {
    const path = document.createElementNS(SVG, "path")
    path.setAttribute("class", name)
    this.element.append(path)
    return path
  }

  show(points) {
    const end = points.at(-1)?.[0] ?? 0, most = Math.max(1e-9, ...points.map(point => point[1]))
    // Who has looked for a short time sees that time, and no empty space.
    const span_s = Math.min(this.span_s, Math.max(SPAN_LEAST_S, end - (points[0]?.[0] ?? 0)))
    const x = time => (this.width * (1 - (end - time) / span_s)).toFixed(1)
    const y = value => (this.height - 1 - (this.height - 3) * value / most).toFixed(1)
    let line = "", area = ""
    for (const run of runs(points)) {
      const along = run.map(([time, value]) => `${x(time)} ${y(value)}`).join("L")
      line += `M${along}`
      area += `M${x(run[0][0])} ${this.height}L${along}L${x(run.at(-1)[0])} ${this.height}Z`
    }
    this.line.setAttribute("d", line)
    this.area.setAttribute("d", area)
  }
}

// While nothing was told there is no line.
function runs(points) {
  const found = []
  let before
  for (const point of points) {
    if (before === undefined || point[0] - before > GAP_S) found.push([])
    found.at(-1).push(point)
    before = point[0]
  }
  return found
}

// -- tables

// `columns`: title, `of` a row what its cell shows, and `kind`: text (the default), number, spark, node. What is
// `extra` is left out on a phone. A cell is text, or {text, tone, hint}.
export class Table {
  constructor(place, label, columns, empty) {
    Object.assign(this, { columns, rows: new Map() })
    this.table = make("table")
    this.table.setAttribute("aria-label", label)
    const head = make("tr")
    for (const column of columns) {
      const cell = make("th", this.classOf(column), column.title)
      cell.scope = "col"
      if (column.hint) cell.title = column.hint
      head.append(cell)
    }
    this.body = make("tbody")
    const top = make("thead")
    top.append(head)
    this.table.append(top, this.body)
    this.empty = make("p", "empty", empty)
    place.append(this.table, this.empty)
    this.show([])
  }

  classOf(column) { return `${column.kind ?? "text"}${column.extra ? " extra" : ""}` }

  // Rows that were there keep their elements, and so the focus and what is selected.
  show(rows) {
    const keys = new Set(rows.map(row => row.key))
    for (const [key, known] of this.rows) {
      if (!keys.has(key)) {
        known.element.remove()
        this.rows.delete(key)
      }
    }
    rows.forEach((row, at) => {
      const known = this.rows.get(row.key) ?? this.add(row)
      if (this.body.children[at] !== known.element) this.body.insertBefore(known.element, this.body.children[at] ?? null)
      known.element.className = row.tone ?? ""
      this.columns.forEach((column, number) => fill(known.cells[number], column, column.of(row)))
    })
    this.table.hidden = rows.length === 0
    this.empty.hidden = rows.length > 0
  }

  add(row) {
    const element = make("tr"), cells = []
    element.dataset.key = row.key
    for (const column of this.columns) {
      const cell = make(cells.length ? "td" : "th", this.classOf(column))
      if (!cells.length) cell.scope = "row"
      cells.push(cell)
    }
    element.append(...cells)
    const known = { element, cells }
    this.rows.set(row.key, known)
    return known
  }
}

function fill(cell, column, value) {
  if (column.kind === "spark") {
    cell.spark ??= new Spark(88, 20, 300)
    if (!cell.firstChild) cell.append(cell.spark.element)
    cell.spark.show(value)
  } else if (column.kind === "node") {
    // Made once: it has the focus, perhaps.
    if (!cell.firstChild) cell.append(value)
  } else {
    const { text, tone = "", hint = "" } = value !== null && typeof value === "object" ? value : { text: value }
    if (!cell.firstChild) cell.append(make("span"))
    const shown = cell.firstChild
    if (shown.textContent !== String(text)) shown.textContent = text
    if (shown.className !== tone) shown.className = tone
    if (shown.title !== hint) shown.title = hint
  }
}
