//! Build script that compiles the protocols of the lab's servers and clients, without `protoc`.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    etcd_client()?;
    talos_stand_in()
}

/// Compiles the etcd client of the lab's data generator.
fn etcd_client() -> Result<(), Box<dyn Error>> {
    const FOLDER: &str = "src/etcd";
    println!("cargo::rerun-if-changed={FOLDER}/rpc.proto");
    let descriptors = protox::compile(["rpc.proto"], [FOLDER])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}

/// Compiles the Talos API as a server, and etcd's API as a node uses it. Writes into a folder of its own,
/// because packages of the same name may be compiled for others.
fn talos_stand_in() -> Result<(), Box<dyn Error>> {
    const API: &str = "../../crates/cluster-client/proto";
    const OWN: &str = "proto/talos";
    println!("cargo::rerun-if-changed={API}");
    println!("cargo::rerun-if-changed={OWN}");
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("talos");
    std::fs::create_dir_all(&out)?;
    let compile = |files: &[&str], folder: &str, server: bool| -> Result<(), Box<dyn Error>> {
        let descriptors = protox::compile(files, [folder])?;
        tonic_prost_build::configure()
            .build_server(server)
            .build_client(true)
            .build_transport(false)
            .bytes(".")
            .out_dir(&out)
            .compile_fds(descriptors)?;
        Ok(())
    };
    compile(&["talos.proto", "cosi.proto"], API, true)?;
    compile(&["machined_etcd.proto"], OWN, false)
}
