// The API as REST, by fetch, as one token.

const LIMIT_MS = 15_000

export class RestError extends Error {
  constructor(status, answer) {
    super(`${status}: ${answer.message}`)
    this.status = status
    // The stable word that says what went wrong: docs/errors.md.
    this.reason = answer.details?.find(detail => detail.reason)?.reason
  }
}

export function restClient(target, token) {
  async function call(method, path, body = undefined, headers = {}) {
    const response = await fetch(`http://${target}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
    })
    const answer = await response.json()
    if (!response.ok) throw new RestError(response.status, answer)
    return answer
  }
  return {
    get: path => call("GET", path),
    post: (path, body, headers) => call("POST", path, body, headers),
    put: (path, body) => call("PUT", path, body),
  }
}
