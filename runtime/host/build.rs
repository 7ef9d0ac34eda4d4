//! Builds the plugins that `sluicegate demo` carries within itself.

use std::path::{Path, PathBuf};
use std::process::Command;

const PLUGINS: [&str; 2] = ["redact", "route"];
const TARGET: &str = "wasm32-wasip2";

fn main() {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../../plugins");
    let out = PathBuf::from(variable("OUT_DIR"));
    for part in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "sdk/rust", "conditions", "redact/src", "route/src"]
    {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    // <target>/release/build/<package>/out: the plugins' own folder is beside `release`, shared with the tests.
    let target = out.ancestors().nth(4).unwrap_or(&out).join("plugins");
    build(&workspace, &target);
    for plugin in PLUGINS {
        let built = target.join(TARGET).join("release").join(format!("{plugin}.wasm"));
        std::fs::copy(&built, out.join(format!("{plugin}.wasm")))
            .unwrap_or_else(|error| panic!("cannot copy {}: {error}", built.display()));
    }
}

fn build(workspace: &Path, target: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(target);
    for plugin in PLUGINS {
        cargo.args(["--package", plugin]);
    }
    // What this build is told of its own target and lints is not for the guests'.
    for variable in
        ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"]
    {
        cargo.env_remove(variable);
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(status.success(), "the plugins do not build; is the target there? rustup target add {TARGET}");
}
