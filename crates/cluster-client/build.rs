//! Compiles the messages and clients of the Talos API and of etcd's, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["talos.proto", "cosi.proto", "etcd.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // A snapshot is millions of these: their bytes are taken over, not copied.
        .bytes(".common.Data")
        .bytes(".etcdserverpb.SnapshotResponse")
        .compile_fds(descriptors)?;
    Ok(())
}
