// What the app is told by its environment. Says all that is missing at once.

const NEEDED = ["CROWN_TARGET", "CROWN_TOKEN_SERVICE", "CROWN_TOKEN_USER"]

export function readSettings(environment) {
  const missing = NEEDED.filter(name => !environment[name])
  if (missing.length > 0) throw new Error(`not set: ${missing.join(", ")}`)
  return {
    target: environment.CROWN_TARGET,
    serviceToken: environment.CROWN_TOKEN_SERVICE,
    userToken: environment.CROWN_TOKEN_USER,
    userId: subjectOf(environment.CROWN_TOKEN_USER),
  }
}

// Who a token speaks for. Read only: whether it is to be believed, the gateway decides.
function subjectOf(token) {
  const [, claims] = token.split(".")
  return JSON.parse(Buffer.from(claims, "base64url")).sub
}
