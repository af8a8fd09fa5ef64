// The API as gRPC-Web, as a page in a browser calls it: Connect's transport, with the code that `run build` generated.

import { createClient } from "@connectrpc/connect"
import { createGrpcWebTransport } from "@connectrpc/connect-web"
import { InboxService } from "../gen/crown/notification/v1/inbox_service_pb.js"

const LIMIT_MS = 15_000

// A client of the inbox as one token.
export function inboxClient(target, token) {
  const authorized = next => request => {
    request.header.set("authorization", `Bearer ${token}`)
    return next(request)
  }
  const transport = createGrpcWebTransport({
    baseUrl: `http://${target}`,
    interceptors: [authorized],
    defaultTimeoutMs: LIMIT_MS,
  })
  return createClient(InboxService, transport)
}
