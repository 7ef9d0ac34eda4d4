//! Plugins in all but their wrapping: the component of a core module, as `wasm-tools component embed` and `component new`
//! make it.

use std::fmt::Display;

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::words::one_line;

/// The boundary, `plugin.wit`.
pub const WIT: &str = include_str!("../../../wit/plugin.wit");

/// What is told of an error, in bytes.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// Why no component can be made of a module, on one line.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct WrapError(String);

impl WrapError {
    fn of(error: impl Display) -> WrapError {
        // Its causes, too.
        WrapError(one_line(&format!("{error:#}"), ERROR_BYTES_MAX))
    }
}

/// The component of a core module that implements a world of `plugin.wit` by the names of its exports. WASI preview 1,
/// which it may import, becomes preview 2 by the usual adapter. The same module always gives the same component.
///
/// # Errors
/// The bytes are no core module, or it does not implement a world: what is missing, or of another type.
pub fn component_of(module: &[u8]) -> Result<Vec<u8>, WrapError> {
    if !Parser::is_core_wasm(module) {
        return Err(WrapError::of("no core WebAssembly module"));
    }
    let mut module = module.to_vec();
    // Generated bindings bring their own description of the world; hand-written ones leave it to their exports.
    let (described, _) = wit_component::metadata::decode(&module).map_err(WrapError::of)?;
    if described.is_none() {
        describe_world(&mut module)?;
    }
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    let encoder = encoder.and_then(|encoder| encoder.adapter("wasi_snapshot_preview1", adapter));
    let component = encoder.and_then(|mut encoder| encoder.encode());
    component.map_err(|error| WrapError::of(format!("the module does not implement a world of plugin.wit: {error:#}")))
}

fn describe_world(module: &mut Vec<u8>) -> Result<(), WrapError> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", WIT).map_err(WrapError::of)?;
    let world = resolve.select_world(&[package], Some(world_of(module)?)).map_err(WrapError::of)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(WrapError::of)
}

/// The world that a module's exports are of.
fn world_of(module: &[u8]) -> Result<&'static str, WrapError> {
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload.map_err(WrapError::of)? else { continue };
        for export in exports {
            let name = export.map_err(WrapError::of)?.name;
            if name.starts_with("sluicegate:plugin/batch-transform@") {
                return Ok("batch-plugin");
            }
            if name.starts_with("sluicegate:plugin/transform@") {
                return Ok("plugin");
            }
        }
    }
    Err(WrapError::of("the module exports neither transform nor batch-transform of plugin.wit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_neither_world_is_refused() {
        let refusal = |bytes: &[u8]| component_of(bytes).unwrap_err().to_string();
        assert!(refusal(b"\0asm\x01\0\0\0").contains("exports neither transform"));
        assert!(refusal(b"#!/bin/sh").contains("no core WebAssembly module"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let module = wat::parse_str("(module (func (export \"sluicegate:plugin/transform@0.1.0#process\")))").unwrap();
        let refusal = component_of(&module).unwrap_err().to_string();
        assert!(refusal.starts_with("the module does not implement a world of plugin.wit: "), "{refusal}");
        assert!(refusal.contains("process") || refusal.contains("lifecycle"), "{refusal}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
}
