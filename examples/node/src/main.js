// The main app: sends what its people do, shows them their inbox and their bell, and keeps what they chose.

import { randomUUID } from "node:crypto"
import { Bell } from "./bell.js"
import { inboxClient } from "./grpc-web.js"
import { ingestClient } from "./grpc.js"
import { changePreferences } from "./preferences.js"
import { restClient } from "./rest.js"
import { expect, seen } from "./seen.js"
import { readSettings } from "./settings.js"

async function main() {
  const settings = readSettings(process.env)
  const app = restClient(settings.target, settings.serviceToken)
  const person = restClient(settings.target, settings.userToken)
  const ingest = ingestClient(settings.target, settings.serviceToken)
  const inbox = inboxClient(settings.target, settings.userToken)

  const { unread_count: unread } = await person.get(`/users/${settings.userId}/notifications/unread-count`)
  const bell = new Bell(settings.target, settings.userToken, settings.userId, unread)
  try {
    await bell.open()
    seen(`the bell of ${settings.userId} on a socket, by phoenix.js: ${unread} unread`)
    const comment = await sendByRest(app, settings.userId)
    await ring(bell, comment, unread + 1)
    const mention = await sendByGrpc(ingest, settings.userId)
    await ring(bell, mention, unread + 2)
    await refuseByGrpc(ingest)
    await listByGrpcWeb(inbox, settings.userId, [mention, comment])
    await markRead(person, inbox, bell, settings.userId, { comment, mention, unread })
    await changePreferences(person, settings.userId)
  } finally {
    bell.close()
    ingest.close()
  }
}

async function sendByRest(app, userId) {
  const request = {
    kind: "comment",
    user_id: userId,
    data: { title: "Ann commented on your photo", message: "What a view!", action_url: "/photos/42" },
  }
  const key = { "idempotency-key": `comment-${randomUUID()}` }
  const { notification_id: id, status } = await app.post("/notifications", request, key)
  expect(id && status === "ACCEPTED", "a comment that is accepted by REST", { id, status })
  const again = await app.post("/notifications", request, key)
  expect(again.notification_id === id, "the same id for the same idempotency key", again.notification_id)
  seen(`a comment sent by REST, twice with one key: notification ${id}`)
  return id
}

async function sendByGrpc(ingest, userId) {
  const answer = await ingest.send({
    kind: "mention",
    user_id: userId,
    data: { title: "Ben mentioned you", message: "Look at this, @you" },
    idempotency_key: `mention-${randomUUID()}`,
  })
  expect(answer.notification_id && answer.status === "ACCEPTED", "a mention that is accepted by gRPC", answer)
  seen(`a mention sent by gRPC: notification ${answer.notification_id}`)
  return answer.notification_id
}

async function refuseByGrpc(ingest) {
  const refusal = await ingest.send({ kind: "mention", data: { title: "To nobody" } }).catch(error => error)
  expect(refusal.reason === "INVALID_REQUEST", "a refusal of a notification to nobody", refusal.reason)
  expect(refusal.fields?.includes("user_id"), "the field that is wrong", refusal.fields)
  seen(`a notification to nobody refused by gRPC: ${refusal.code}, ${refusal.reason}, ${refusal.fields}`)
}

async function ring(bell, id, unread) {
  const notification = await bell.rang(id)
  await bell.shows(unread)
  seen(`the bell rang for "${notification.data.title}" and shows ${bell.count}`)
}

async function listByGrpcWeb(inbox, userId, ids) {
  const { notifications } = await inbox.listNotifications({ userId, limit: 10, unreadOnly: true })
  const listed = notifications.map(entry => entry.notificationId)
  expect(ids.every(id => listed.includes(id)), "both notifications in the inbox", listed)
  const newest = notifications.find(entry => entry.notificationId === ids[0])
  expect(newest.kind === "mention" && newest.data.message !== "", "what the mention says, in the inbox", newest.kind)
  seen(`the inbox by gRPC-Web, newest first: ${notifications.map(entry => entry.data.title).slice(0, 2).join("; ")}`)
}

async function markRead(person, inbox, bell, userId, { comment, mention, unread }) {
  await person.post(`/users/${userId}/notifications/${comment}:read`, {})
  await bell.shows(unread + 1)
  seen(`the comment marked read by REST, and the bell shows ${bell.count}`)
  const answer = await inbox.markRead({ userId, notificationId: mention })
  expect(answer.marked === 1, "one notification that was marked read", answer.marked)
  await bell.shows(unread)
  seen(`the mention marked read by gRPC-Web, and the bell shows ${bell.count}`)
}

main().catch(error => {
  console.error(`main-app: ${error.message}`)
  process.exitCode = 1
})
