//! The component step: what `wasm-tools component embed` and `component new` do, for compilers that make core modules.

use anyhow::{Context, anyhow, bail};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The boundary.
pub(super) const WIT: &str = include_str!("../../../../../wit/plugin.wit");

/// The component of a core module that implements a world of `plugin.wit` by the names of its exports. WASI preview 1,
/// which it may import, becomes preview 2 by the usual adapter.
///
/// # Errors
/// The bytes are no core module, or it does not implement a world: what is missing, or of another type.
pub(super) fn of_module(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    if !Parser::is_core_wasm(module) {
        bail!("no core WebAssembly module");
    }
    let mut module = module.to_vec();
    // Generated bindings bring their own description of the world; hand-written ones leave it to their exports.
    let (described, _) = wit_component::metadata::decode(&module)?;
    if described.is_none() {
        describe_world(&mut module)?;
    }
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let encoder = ComponentEncoder::default().validate(true).module(&module)?;
    let component = encoder.adapter("wasi_snapshot_preview1", adapter)?.encode();
    component.context("the module does not implement a world of plugin.wit")
}

fn describe_world(module: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("plugin.wit", WIT)?;
    let world = resolve.select_world(&[package], Some(world_of(module)?))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

/// The world that a module's exports are of.
fn world_of(module: &[u8]) -> anyhow::Result<&'static str> {
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload? else { continue };
        for export in exports {
            let name = export?.name;
            if name.starts_with("sluicegate:plugin/batch-transform@") {
                return Ok("batch-plugin");
            }
            if name.starts_with("sluicegate:plugin/transform@") {
                return Ok("plugin");
            }
        }
    }
    Err(anyhow!("the module exports neither transform nor batch-transform of plugin.wit"))
}

/// Adds the section by which `sluicegate inspect` knows the SDK, where the language cannot write it itself.
pub(super) fn name_sdk(component: &mut Vec<u8>, language: &str) {
    const SECTION: &str = "sluicegate-sdk";
    let text = format!("sluicegate-{language} {}", env!("CARGO_PKG_VERSION"));
    // Sizes below 128 are one byte of LEB128; names of languages are short.
    let Some(size) = u8::try_from(1 + SECTION.len() + text.len()).ok().filter(|size| *size < 0x80) else { return };
    component.extend([0, size, SECTION.len() as u8]);
    component.extend(SECTION.bytes().chain(text.bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_neither_world_is_refused() {
        let empty = b"\0asm\x01\0\0\0";
        assert!(of_module(empty).unwrap_err().to_string().contains("exports neither transform"));
        assert!(of_module(b"#!/bin/sh").unwrap_err().to_string().contains("no core WebAssembly module"));
    }

    #[test]
    fn the_sdk_is_a_section() {
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        name_sdk(&mut module, "go");
        let section = Parser::new(0).parse_all(&module).find_map(|payload| match payload {
            Ok(Payload::CustomSection(section)) => Some((section.name().to_owned(), section.data().to_vec())),
            _ => None,
        });
        assert_eq!(
            section,
            Some(("sluicegate-sdk".to_owned(), format!("sluicegate-go {}", env!("CARGO_PKG_VERSION")).into_bytes()))
        );
    }
}
