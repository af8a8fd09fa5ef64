// The bell: how many notifications are unread, live, by the npm client of Phoenix, unchanged.

import { Socket } from "phoenix"
import WebSocket from "ws"
import { within } from "./seen.js"

const LIMIT_MS = 10_000

export class Bell {
  #socket
  #channel
  #waiting = new Set()
  #notifications = []
  count

  // `count` is what the bell shows until it is told otherwise.
  constructor(target, token, userId, count) {
    this.count = count
    // A browser has a WebSocket of its own, and is not told which to take.
    this.#socket = new Socket(`ws://${target}/socket`, { authToken: token, transport: WebSocket })
    this.#channel = this.#socket.channel(`user:${userId}`)
    this.#channel.on("notification", notification => {
      this.#notifications.push(notification)
      this.#look()
    })
    this.#channel.on("unread_count", ({ unread_count }) => {
      this.count = unread_count
      this.#look()
    })
  }

  async open() {
    this.#socket.connect()
    const joined = new Promise((resolve, reject) => {
      this.#channel.join()
        .receive("ok", resolve)
        .receive("error", refusal => reject(new Error(`the socket refused: ${refusal.reason}`)))
    })
    await within(LIMIT_MS, "an answer to the join", joined)
  }

  // The notification with this id, when it has rung.
  async rang(notificationId) {
    const find = () => this.#notifications.find(one => one.notification_id === notificationId)
    await this.#until(`notification ${notificationId} on the socket`, () => find() !== undefined)
    return find()
  }

  // When the bell shows this number.
  async shows(count) {
    await this.#until(`a bell that shows ${count}`, () => this.count === count)
  }

  close() {
    this.#socket.disconnect()
  }

  async #until(what, holds) {
    if (holds()) return
    let look
    const held = new Promise(resolve => {
      look = () => holds() && resolve()
      this.#waiting.add(look)
    })
    try {
      await within(LIMIT_MS, what, held)
    } catch (error) {
      throw new Error(`${error.message}; it shows ${this.count}`)
    } finally {
      this.#waiting.delete(look)
    }
  }

  #look() {
    for (const look of this.#waiting) look()
  }
}
