//! The component step, for compilers that make core modules, and what tools of other languages leave out.

pub(super) use sluicegate_wasm::{WIT, component_of as of_module};

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
    use wasmparser::{Parser, Payload};

    use super::*;

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
