//! Generates the clients of the services that this program calls, from the contract itself.

fn main() -> std::io::Result<()> {
    let protos = "../../protos";
    let used = ["ingest_service", "realtime_service"]
        .map(|name| format!("{protos}/crown/notification/v1/{name}.proto"));
    let details = format!("{protos}/google/rpc/error_details.proto");
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .include_file("contract.rs")
        .compile_protos(&[&used[..], &[details]].concat(), &[protos.to_owned()])
}
