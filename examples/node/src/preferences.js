// What the person wants to be told, and where: read, written back unchanged, and one choice changed.

import { deepStrictEqual } from "node:assert"
import { expect, seen } from "./seen.js"

export async function changePreferences(rest, userId) {
  const path = `/users/${userId}/notification-preferences`
  const before = await rest.get(path)

  const unchanged = await rest.put(path, before)
  deepStrictEqual(choicesIn(unchanged), choicesIn(before), "missing: preferences that a PUT of the same left unchanged")
  seen(`preferences of ${userId} read and written back by REST, and unchanged`)

  const wanted = structuredClone(unchanged)
  wanted.categories.social.email = !wanted.categories.social.email
  await rest.put(path, wanted)
  const changed = await rest.get(path)
  deepStrictEqual(choicesIn(changed), choicesIn(wanted), "missing: the one choice that was changed, and no other")
  seen(`e-mail of the category social turned ${changed.categories.social.email ? "on" : "off"}, and nothing else`)

  const refusal = await rest.put(path, unchanged).catch(error => error)
  expect(refusal.reason === "STALE_ETAG", "a refusal of what was read before somebody else's change", refusal.reason)
  seen(`a PUT of what was read before is refused: ${refusal.status} ${refusal.reason}`)

  await rest.put(path, { ...before, etag: changed.etag })
}

// All but what the service sets itself.
function choicesIn({ etag, update_time, effective, ...choices }) {
  return choices
}
