// The API as gRPC, by @grpc/grpc-js, with the protos read at the start.

import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import grpc from "@grpc/grpc-js"
import loader from "@grpc/proto-loader"

const LIMIT_MS = 15_000
const PROTOS = fileURLToPath(new URL("../../../protos", import.meta.url))
const FILES = ["crown/notification/v1/ingest_service.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"]

const definitions = loader.loadSync(FILES, { includeDirs: [PROTOS], keepCase: true, enums: String, longs: String })
const { IngestService } = grpc.loadPackageDefinition(definitions).crown.notification.v1

export class GrpcError extends Error {
  constructor(error) {
    super(error.message)
    this.code = grpc.status[error.code]
    this.details = detailsOf(error)
    this.reason = this.details.find(detail => detail.reason)?.reason
    this.fields = this.details.flatMap(detail => detail.field_violations ?? []).map(violation => violation.field)
  }
}

// An ingest client as one token; `close` ends its connection.
export function ingestClient(target, token) {
  const client = new IngestService(target, grpc.credentials.createInsecure())
  const metadata = new grpc.Metadata()
  metadata.set("authorization", `Bearer ${token}`)

  async function call(method, request) {
    try {
      return await promisify(client[method].bind(client))(request, metadata, { deadline: Date.now() + LIMIT_MS })
    } catch (error) {
      throw new GrpcError(error)
    }
  }
  return {
    send: request => call("SendNotification", request),
    close: () => client.close(),
  }
}

// The google.rpc.Status of an error rides in a trailer; each of its details names its own type.
function detailsOf(error) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? []
  if (bytes === undefined) return []
  const { details } = decode("google.rpc.Status", bytes)
  return details.map(({ type_url, value }) => decode(type_url.split("/").at(-1), value))
}

function decode(type, bytes) {
  return definitions[type].deserialize(bytes)
}
