// One line for each thing that was seen, and an end with a word of what was missing.

export function seen(line) {
  console.log(line)
}

export function expect(condition, missing, found = undefined) {
  if (condition) return
  const answer = found === undefined ? "" : `; there was ${JSON.stringify(found)}`
  throw new Error(`missing: ${missing}${answer}`)
}

// Waits for a promise, at most so long.
export async function within(limitMs, what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`missing: ${what}, after ${limitMs} ms`)), limitMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
