//! The types and calls of world `batch-plugin`, generated from `wit/plugin.wit`.

// Generated: calls across the boundary are unsafe by nature, and the WIT file is where they are documented.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    path: "wit",
    world: "batch-plugin",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "sluicegate_plugin::__private",
});

/// What `sluicegate inspect` shows as the SDK.
#[cfg(target_family = "wasm")]
#[used]
#[unsafe(link_section = "sluicegate-sdk")]
static SDK: [u8; SDK_NAME.len()] = {
    let mut bytes = [0; SDK_NAME.len()];
    bytes.copy_from_slice(SDK_NAME.as_bytes());
    bytes
};

#[cfg(target_family = "wasm")]
const SDK_NAME: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    #[test]
    fn the_copy_of_the_boundary_is_the_boundary() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        // A published crate stands alone: there is nothing to compare with.
        if let Ok(contract) = std::fs::read_to_string(root.join("../../../wit/plugin.wit")) {
            assert_eq!(include_str!("../wit/plugin.wit"), contract, "copy wit/plugin.wit into the SDK again");
        }
    }
}
